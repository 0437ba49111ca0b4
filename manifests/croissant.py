"""Croissant metadata (MLCommons, 1.1) of a version: files with hashes, rows as records, images, provenance. Pure.

Row files are listed by name, not by a wildcard, so that leftovers of interrupted work are never read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from manifests.documents import ShardFile, VersionDoc
from manifests.schema import VIEW_SCHEMA

_MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
# No integer column that may be null: it would reach Croissant's readers as floats.
_COLUMNS = {
    "key": "sc:Text",
    "group": "cr:Int64",
    "view": "cr:Int16",
    "positive_id": "cr:Int64",
    "shard": "cr:Int32",
    "status": "sc:Text",
    "member": "sc:Text",
    "sha256": "sc:Text",
    "split": "sc:Text",
    "prompt": "sc:Text",
    "generator": "sc:Text",
}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "containedIn": "cr:containedIn",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(version: VersionDoc, summary: str, generators: Sequence[tuple[str, str]] = ()) -> bytes:
    """Write croissant.json: two record sets, `views` (the rows) and `images` (the members of the tars).

    The generators are pairs of name and SHA-256 of the weights.
    """
    tars = [shard.shard for shard in version.shards if shard.groups_ok]
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": version.name or f"viewmill-{version.root()[:12]}",
        "description": summary or f"Groups of {version.views_per_group} views, root {version.root()}",
        **({"license": version.licence} if version.licence else {}),
        "version": f"{version.generation}.0.0",
        "identifier": f"sha256:{version.root()}",
        **_provenance(version, generators),
        "distribution": [
            *(_file(shard.rows, "application/x-parquet") for shard in version.shards),
            *(_file(tar, "application/x-tar") for tar in tars),
            _file_set("rows", "application/x-parquet", [shard.rows.name for shard in version.shards]),
            {**_file_set("members", _MEDIA_TYPES[version.extension], [f"*.{version.extension}"]), **_within(tars)},
        ],
        "recordSet": [_views(), _images()],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def _provenance(version: VersionDoc, generators: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Say in PROV-O and RAI terms what the version came from and what made its images."""
    parents = [version.parent] if version.parent else [part.root for part in version.parts]
    agents = [
        {
            "@type": "prov:SoftwareAgent",
            "@id": f"sha256:{digest}" if digest else f"urn:generator:{number}",
            "name": name,
        }
        for number, (name, digest) in enumerate(generators)
    ]
    activity = {"@type": "prov:Activity", "@id": f"urn:viewmill:{version.kind}", "prov:wasAssociatedWith": agents}
    made = "Images made by generative models from prompts or latents." if agents else ""
    return {
        **({"prov:wasDerivedFrom": [{"@id": f"sha256:{root}"} for root in parents]} if parents else {}),
        **({"prov:wasGeneratedBy": activity} if agents else {}),
        **({"rai:dataCollection": made, "rai:dataCollectionType": "Synthetic data generation"} if made else {}),
    }


def _file(file: ShardFile, media_type: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": media_type,
        "sha256": file.sha256,
    }


def _file_set(name: str, media_type: str, includes: list[str]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": media_type, "includes": includes}


def _within(tars: list[ShardFile]) -> dict[str, Any]:
    return {"containedIn": [{"@id": tar.name} for tar in tars]}


def _views() -> dict[str, Any]:
    fields = [_field("views", name, type_, "rows", {"column": name}) for name, type_ in _COLUMNS.items()]
    key = [{"@id": "views/key"}, {"@id": "views/view"}]
    return {"@type": "cr:RecordSet", "@id": "views", "name": "views", "key": key, "field": fields}


def _images() -> dict[str, Any]:
    fields = [
        _field("images", "member", "sc:Text", "members", {"fileProperty": "filename"}),
        _field("images", "image", "sc:ImageObject", "members", {"fileProperty": "content"}),
    ]
    return {"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}


def _field(record_set: str, name: str, type_: str, file_set: str, extract: dict[str, str]) -> dict[str, Any]:
    known = name in VIEW_SCHEMA.names
    meaning = VIEW_SCHEMA.field(name).metadata[b"meaning"].decode() if known else "the image"
    source = {"fileSet": {"@id": file_set}, "extract": extract}
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{name}",
        "name": f"{record_set}/{name}",
        "description": meaning,
        "dataType": type_,
        "source": source,
    }

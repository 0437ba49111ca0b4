"""Other people's tars and Parquet files become data sets like any; webdataset and datasets agree on what is in them."""

import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from manifests import open_dataset, select, verify
from manifests.adopt import adopt
from manifests.errors import UserError
from manifests.seeds import prompt_positive_id
from manifests.store import Store
from manifests.table import Columns
from tests.manifests.making import commit, encode, finish, make_group, pixels

WORDS = ["cat", "dog", "eel"]


def write_foreign(folder, tars=2, samples=4, views=1, kind="JPEG"):
    """Write tars with the library's own writer: images, a caption, a class and a JSON object a sample."""
    from webdataset import ShardWriter

    folder.mkdir(exist_ok=True)
    ending = {"JPEG": "jpg", "PNG": "png"}[kind]
    names = [f"v{view}.{ending}" for view in range(views)] if views > 1 else [ending]
    with ShardWriter(f"{folder}/train-%06d.tar", maxcount=samples, verbose=0) as writer:
        for number in range(tars * samples):
            said = {"score": number / 2, "url": f"http://x/{number}", "split": "test" if number % 4 == 3 else "train"}
            texts = {"txt": f"a {WORDS[number % 3]}\n", "cls": str(number % 3), "json": json.dumps(said)}
            images = {name: encode(pixels(number, view), kind) for view, name in enumerate(names)}
            writer.write({"__key__": f"part/{number:05d}", **texts, **images})
    return folder


def adopted(source, tmp_path, **options):
    adopt(source, tmp_path / "out", **options)
    assert verify(tmp_path / "out", deep=True).problems == []
    return open_dataset(tmp_path / "out")


def test_tars_of_the_library_s_own_writer_are_taken_byte_for_byte(tmp_path):
    data = adopted(write_foreign(tmp_path / "tars"), tmp_path, columns=Columns(keep=("score",)), groups_per_shard=3)
    rows = data.rows().to_pylist()
    assert [row["source"] for row in rows] == [f"train-00000{n // 4}.tar/part/{n:05d}.jpg" for n in range(8)]
    assert [row["prompt"] for row in rows] == [f"a {WORDS[n % 3]}" for n in range(8)]
    assert [row["label"] for row in rows] == [n % 3 for n in range(8)]
    assert [row["split"] for row in rows] == ["train", "train", "train", "test"] * 2
    assert [row["x_score"] for row in rows] == [n / 2 for n in range(8)]
    assert "x_url" not in rows[0]
    assert rows[3]["positive_id"] == prompt_positive_id("a cat")
    places = data.groups()
    columns = places.shard_position, places.offsets[:, 0], places.sizes[:, 0]
    found = [data.read(*place) for place in zip(*columns, strict=True)]
    assert found == [encode(pixels(n, 0), "JPEG") for n in range(8)]
    [(recipe, _)] = Store.open(tmp_path / "out").list("recipes")
    sources = json.loads((tmp_path / "out" / recipe).read_text())["sources"]
    assert [(s["name"], s["size"]) for s in sources] == [
        (f"train-00000{n}.tar", (tmp_path / "tars" / f"train-00000{n}.tar").stat().st_size) for n in (0, 1)
    ]


@pytest.mark.parametrize("views", [1, 3])
def test_webdataset_sees_the_same_images_before_and_after(tmp_path, views):
    from webdataset import WebDataset

    source = write_foreign(tmp_path / "tars", views=views, kind="PNG")
    data = adopted(source, tmp_path)
    assert data.version.views_per_group == views
    urls = [str(tmp_path / "out" / line) for line in (tmp_path / "out" / "shards.txt").read_text().splitlines()]
    after = list(WebDataset(urls, shardshuffle=False).decode("rgb8"))
    before = list(WebDataset([str(path) for path in sorted(source.iterdir())], shardshuffle=False).decode("rgb8"))
    assert len(before) == len(after) == 8
    for old, new in zip(before, after, strict=True):
        assert new["json"]["prompt"] == old["txt"].rstrip("\n")
        assert new["json"]["label"] == old["cls"]
        for view in range(views):
            np.testing.assert_array_equal(new[f"v{view:02d}.png"], old[f"v{view}.png" if views > 1 else "png"])


def write_hf(path, hf, rows=6, **features):
    from datasets import ClassLabel, Dataset, Features, Value
    from datasets import Image as HfImage

    columns = {
        "image": [Image.fromarray(pixels(n, 0)) for n in range(rows)],
        "caption": [f"a {WORDS[n % 3]}" for n in range(rows)],
        "label": [n % 3 if n else -1 for n in range(rows)],
        "thing": [n % 3 for n in range(rows)],
    }
    types = {"image": HfImage(), "caption": Value("string"), "label": ClassLabel(names=WORDS), "thing": Value("int64")}
    Dataset.from_dict(columns, features=Features(types)).to_parquet(path)


def test_parquet_of_datasets_is_taken_byte_for_byte_and_read_back_by_it(tmp_path, hf_offline):
    from datasets import load_dataset

    (tmp_path / "hf" / "data").mkdir(parents=True)
    for number, split in enumerate(["train", "test"]):
        write_hf(tmp_path / "hf" / "data" / f"{split}-00000-of-00001.parquet", hf_offline, rows=4 + number)
    data = adopted(tmp_path / "hf", tmp_path, columns=Columns(keep=("thing",)))
    assert data.version.label_names == WORDS
    rows = data.rows().to_pylist()
    assert [row["split"] for row in rows] == ["test"] * 5 + ["train"] * 4
    assert [row["label"] for row in rows] == [None, 1, 2, 0, 1, None, 1, 2, 0]
    assert [row["x_thing"] for row in rows] == [0, 1, 2, 0, 1, 0, 1, 2, 0]
    assert rows[6]["source"] == "train-00000-of-00001.parquet:1/image"
    table = pq.read_table(tmp_path / "hf" / "data" / "train-00000-of-00001.parquet")
    stored = [data.read(0, row["offset"], row["size"]) for row in rows[5:]]
    assert stored == [image["bytes"] for image in table["image"].to_pylist()]
    theirs = load_dataset("parquet", data_files=str(tmp_path / "hf" / "data" / "test*"), split="train")
    ours = load_dataset(str(tmp_path / "out"), split="train")
    assert len(ours) == 9
    for old, new in zip(theirs, ours, strict=False):
        np.testing.assert_array_equal(np.asarray(new["v00.png"]), np.asarray(old["image"]))
        assert (new["json"]["prompt"], new["json"]["label"]) == (old["caption"], old["label"])


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def images_table(numbers, **columns):
    images = [{"bytes": encode(pixels(n, 0)), "path": f"{n}.png"} for n in numbers]
    return pa.table({"image": pa.array(images, IMAGE), **columns})


@settings(max_examples=10, deadline=None)
@given(order=st.permutations([0, 0, 1, 1, 2, 2]), row_group=st.integers(1, 6))
def test_a_group_column_gathers_views_from_anywhere(tmp_path_factory, order, row_group):
    folder = tmp_path_factory.mktemp("groups")
    pq.write_table(images_table(range(6), group=order), folder / "a.parquet", row_group_size=row_group)
    adopt(folder, folder / "out")
    data = open_dataset(folder / "out")
    expected = [[n for n in range(6) if order[n] == mark] for mark in dict.fromkeys(order)]
    rows = data.rows().to_pylist()
    for group, numbers in enumerate(expected):
        for view, number in enumerate(numbers):
            np.testing.assert_array_equal(data.image(rows[2 * group + view]), pixels(number, 0))


def test_several_image_columns_and_lists_of_images_are_views(tmp_path):
    table = images_table([0, 1])
    table = table.append_column("other", images_table([2, 3])["image"])
    both = [[images_table([n])["image"][0].as_py(), images_table([n + 5])["image"][0].as_py()] for n in range(2)]
    table = table.append_column("many", pa.array(both, pa.list_(table.schema.field("image").type)))
    pq.write_table(table, tmp_path / "a.parquet")
    data = adopted(tmp_path / "a.parquet", tmp_path)
    seen = [[0, 2, 0, 5], [1, 3, 1, 6]]
    for row in data.rows().to_pylist():
        np.testing.assert_array_equal(data.image(row), pixels(seen[row["group"]][row["view"]], 0))
    adopt(tmp_path / "a.parquet", tmp_path / "one", columns=Columns(images=("other",)))
    assert open_dataset(tmp_path / "one").version.views_per_group == 1


def write_tar(path, members, **header):
    with tarfile.open(path, mode="w", format=header.pop("format", tarfile.USTAR_FORMAT)) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in header.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return path


def png(number):
    return encode(pixels(number, 0))


def test_odd_but_sound_tars_are_read(tmp_path):
    long = "d" * 90 + "/" + "e" * 150
    members = [("./a.PNG", png(0)), ("._a.png", b"mac"), ("__meta__/x.json", b"{}"), (f"{long}.png", png(1))]
    for number, kind in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        path = write_tar(tmp_path / f"{number}.tar", members, format=kind)
        adopt(path, tmp_path / f"out{number}")
        rows = open_dataset(tmp_path / f"out{number}").rows().to_pylist()
        assert [row["source"] for row in rows] == [f"{number}.tar/a.PNG", f"{number}.tar/{long}.png"]


@settings(max_examples=25, deadline=None)
@given(kept=st.integers(0, 10240 - 1))
def test_a_cut_tar_never_passes_for_a_shorter_one(tmp_path_factory, kept):
    folder = tmp_path_factory.mktemp("cut")
    path = write_tar(folder / "a.tar", [(f"{n}.png", png(n)) for n in range(4)])
    data = path.read_bytes()
    content = len(data.rstrip(b"\0"))
    path.write_bytes(data[: min(kept, content)])
    with pytest.raises(UserError, match=r"a\.tar is cut: it ends"):
        adopt(path, folder / "out")
    assert not (folder / "out").exists()


def raw_header(name=b"a.png", size=b"00000000000", kind=b"0"):
    block = bytearray(512)
    block[: len(name)], block[124 : 124 + len(size)], block[156:157] = name, size, kind
    block[257:265], block[148:156] = b"ustar\x0000", b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


PAX = b"29 path=../../etc/passwd.png\n"
HOSTILE = {
    "traversal": (lambda p: write_tar(p, [("../../a.png", png(0))]), "is no plain, relative path"),
    "absolute": (lambda p: write_tar(p, [("/etc/a.png", png(0))]), "is no plain, relative path"),
    "control": (lambda p: write_tar(p, [("a\x1b[2J.png", png(0))]), "is no plain, relative path"),
    "latin": (lambda p: p.write_bytes(raw_header(b"\xe9.png") + bytes(1024)), "is no plain, relative path"),
    "link": (lambda p: write_tar(p, [("a.png", b"")], type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link or device"),
    "device": (lambda p: write_tar(p, [("a.png", b"")], type=tarfile.CHRTYPE), "link or device"),
    "twice": (lambda p: write_tar(p, [("a.png", png(0)), ("a.png", png(1))]), "is there twice"),
    "apart": (lambda p: write_tar(p, [(f"{n}.png", png(0)) for n in (0, 1, 0)]), "do not lie together"),
    "joined": (
        lambda p: p.write_bytes(write_tar(p, [("a.png", png(0))]).read_bytes() * 2),
        "was it put together from several tars",
    ),
    "negative": (lambda p: p.write_bytes(raw_header(size=b"\xff" * 12) + bytes(1024)), "is cut|no readable tar"),
    "huge": (lambda p: p.write_bytes(raw_header(size=b"77777777777") + bytes(1024)), "is cut: it ends inside"),
    "long": (lambda p: p.write_bytes(raw_header(kind=b"x", size=b"77777777777") + bytes(1024)), "is cut"),
    "pax": (
        lambda p: p.write_bytes(raw_header(kind=b"x", size=b"%011o" % 29) + PAX.ljust(512, b"\0") + raw_header()),
        "is no plain, relative path",
    ),
    "text": (lambda p: p.write_bytes(b"no tar at all" * 100), "no readable tar at byte 0"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(2000)), "or compressed"),
    "empty": (lambda p: write_tar(p, []), "no sample in 1 tars"),
    "types": (
        lambda p: write_tar(p, [("a.cls", b"1"), ("a.png", png(0)), ("b.cls", b"x"), ("b.png", png(0))]),
        "'label' are of several types",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_broken_tar_is_one_line_and_nothing_is_written(tmp_path, name):
    write, message = HOSTILE[name]
    write(tmp_path / "a.tar")
    with pytest.raises(UserError, match=message) as caught:
        adopt(tmp_path / "a.tar", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_used_is_counted_named_and_quarantined_within_a_budget(tmp_path):
    members = [(f"{n}.png", png(n)) for n in range(6)]
    members[1] = ("1.png", b"not an image")
    members[2] = ("2.png", encode(pixels(2, 0), "JPEG"))
    members[3:4] = [("3.json", b"[1]"), ("3.png", png(3))]
    members.append(("9.txt", b"no image here"))
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(
        UserError, match=r"3 of 7 images cannot be used, the corrupt budget is 0: a\.tar/1\.png: 12 byt"
    ):
        adopt(path, tmp_path / "out")
    with pytest.raises(UserError, match="several kinds"):
        adopt(path, tmp_path / "out", corrupt_budget=3)
    data = adopted(path, tmp_path, corrupt_budget=4)
    rows = [row for row in data.rows().to_pylist() if row["status"] != "ok"]
    assert [(row["status"], row["source"], row["reason"].partition(":")[0]) for row in rows] == [
        ("quarantined", "a.tar/1.png", "12 bytes are no JPEG, PNG or WebP image"),
        ("quarantined", "a.tar/2.png", "it is jpg, most are png"),
        ("quarantined", "a.tar/3.png", "what is said of it is unreadable"),
        ("quarantined", "a.tar/9.txt", "its sample has no image, but ['txt']"),
    ]
    assert data.groups().group.tolist() == [0, 4, 5]
    assert adopt(path, tmp_path / "again", corrupt_budget=9) == data.root


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["a", "b"]}, "no image column : there are"),
        ({"image": [{"bytes": b"x", "path": None}], "caption": [3]}, r"'caption': 3\} must be text"),
        ({"image": pa.array([{"bytes": None, "path": "a.png"}], IMAGE)}, r"only the path 'a\.png' is there, no bytes"),
        ({"image": [None, {"bytes": b"x"}]}, "2 of 2 images cannot be used.*there is no image"),
    ],
)
def test_parquet_that_holds_no_usable_images_is_one_line(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message) as caught:
        adopt(tmp_path / "a.parquet", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_a_source_is_decides_and_what_is_unclear_is_asked(tmp_path):
    write_foreign(tmp_path / "both", samples=1)
    pq.write_table(images_table([0]), tmp_path / "both" / "a.parquet")
    with pytest.raises(UserError, match=r"there are tars and Parquet files: name those you mean, such as .*\*\.tar"):
        adopt(tmp_path / "both", tmp_path / "out")
    assert len(adopted(tmp_path / "both" / "*.tar", tmp_path).groups()) == 2
    with pytest.raises(UserError, match="is a ViewMill data set already"):
        adopt(tmp_path / "out", tmp_path / "again")
    (tmp_path / "a.zip").write_bytes(b"")
    for source, message in (("a.zip", "expected .tar or .parquet"), ("none*.tar", "there is no such folder of images")):
        with pytest.raises(UserError, match=message):
            adopt(tmp_path / source, tmp_path / "again")
    with pytest.raises(UserError, match=r"no column \['nosuch'\] to keep"):
        adopt(tmp_path / "both" / "*.tar", tmp_path / "again", columns=Columns(keep=("nosuch",)))


def test_the_tars_of_a_data_set_of_ours_can_be_adopted_like_any(tmp_path):
    groups = [replace(make_group(n), label=None if n == 2 else 1) for n in range(6)]
    store = Store.open(tmp_path / "ours", create=True)
    finish(store, [commit(store, 0, tmp_path, groups)])
    columns = Columns(caption="prompt", keep=("key",))
    data = adopted(tmp_path / "ours" / "shards" / "*.tar", tmp_path, columns=columns)
    old, new = open_dataset(tmp_path / "ours").rows().to_pylist(), data.rows().to_pylist()
    assert [row["x_key"] for row in new] == [row["key"] for row in old]
    for name in ("positive_id", "prompt", "sha256", "label", "split", "group", "view"):
        assert [row[name] for row in new] == [row[name] for row in old]


def test_a_cut_parquet_file_is_one_line(tmp_path):
    pq.write_table(images_table(range(3)), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for kept in (0, 4, len(data) // 2, len(data) - 1):
        (tmp_path / "a.parquet").write_bytes(data[:kept])
        with pytest.raises(UserError, match=r"a\.parquet: ") as caught:
            adopt(tmp_path / "a.parquet", tmp_path / "out")
        assert "\n" not in str(caught.value)


def test_the_stream_reads_adopted_sets_and_views_of_them(tmp_path):
    stream = pytest.importorskip("trainer.stream")
    data = adopted(write_foreign(tmp_path / "tars", views=2, kind="PNG"), tmp_path, columns=Columns(keep=("score",)))
    view = select(data, "x_score >= 2 AND label < 2", tmp_path / "view")
    batch = stream.Stream([data, view], batch_groups=4, views=2, seed=0, workers=1).batch(0)
    assert tuple(batch.images.shape) == (4, 2, 8, 8, 3)
    assert set(batch.ids.tolist()) <= set(data.groups().positive_id.tolist())

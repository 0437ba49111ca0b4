"""The report's page: one file with its style, charts and pictures inside, no script, and no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from demo.facts import BASELINES, Report
from demo.markup import Markup, element, raw
from demo.numbers import count, duration, fraction, interval, memory, percent, points, rate, signed_interval
from demo.pictures import Exhibits
from demo.sections import again, limits, neighbours, origins, results, samples, training

_BASELINE_NAMES = {"random": "the same network untrained", "pixels": "raw pixels"}


def page(report: Report, exhibits: Exhibits) -> str:
    """Write the whole page."""
    style = files("demo").joinpath("style.css").read_text(encoding="utf-8")
    body = element(
        "main",
        _header(report),
        _chain(report),
        samples(report, exhibits.groups),
        results(report),
        neighbours(report, exhibits.neighbours),
        training(report, exhibits.metrics),
        limits(report),
        origins(report, exhibits),
        again(report),
    )
    return "<!doctype html>\n" + element("html", _head(report, style), element("body", body), lang="en") + "\n"


def _head(report: Report, style: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),
        element("title", f"ViewMill: {percent(report.results['encoder']['linear'].mean)} on {report.test_set.name}"),
        element("style", raw(style)),
    )


def _header(report: Report) -> Markup:
    images = count("render.images", report.render.images)
    return element(
        "header",
        element("p", "ViewMill", element("span", f"demo · {report.label} · {report.date[:10]}"), class_="brand"),
        element(
            "h1",
            element("span", "Trained on ", images, " rendered drawings, and nothing else."),
            element("span", "Tested on clip art that people drew."),
        ),
        _headline(report),
        _notice(report),
    )


def _headline(report: Report) -> Markup:
    key, score = "results.encoder.linear", report.results["encoder"]["linear"]
    meaning = element(
        "p",
        f"balanced accuracy of a linear probe over {report.test_set.classes} classes, 95 % interval ",
        interval(key, score),
        ". Guessing gives ",
        fraction("chance", report.chance),
        ".",
        element("br"),
        [_verdict(report, baseline) for baseline in BASELINES],
    )
    return element("div", element("p", fraction(f"{key}.mean", score.mean), class_="headline"), meaning, class_="hero")


def _verdict(report: Report, baseline: str) -> Markup:
    key, score = f"differences.{baseline}.linear", report.differences[baseline]["linear"]
    if score.low <= 0 <= score.high:
        verdict = "Not told apart from"
    else:
        verdict = "Better than" if score.low > 0 else "Worse than"
    difference = [points(f"{key}.mean", score.mean), " (", signed_interval(key, score), "). "]
    return element("span", f"{verdict} {_BASELINE_NAMES[baseline]}: ", difference)


def _notice(report: Report) -> Markup:
    text = (
        f"one training seed, on the “{report.test_set.split}” part that is there for trying things out. "
        "It shows that the chain works from end to end. Evidence takes several seeds on “test”: "
    )
    return element("p", element("b", "A smoke result: "), text, element("code", "make evidence"), ".", class_="notice")


def _cost(report: Report) -> list[Markup | str]:
    held = memory("memory_peak_bytes", report.memory_peak_bytes)
    return [f"in {duration(report.seconds)} altogether, with ", held, " of memory at most"]


def _chain(report: Report) -> Markup:
    rendered = f"{report.render.groups:,} groups of {report.render.views_per_group}"
    links = [
        ("Recipe", report.stream_ids[0][:12], rendered),
        ("Data set", report.root[:12], [rate("render.images_per_s", report.render.images_per_s), " rendered"]),
        ("Encoder", report.encoder_sha256[:12], [rate("pretrain.images_per_s", report.pretrain.images_per_s), " seen"]),
        ("Number", percent(report.results["encoder"]["linear"].mean), _cost(report)),
    ]
    boxes = [
        element("li", element("b", name), element("code", identity), element("span", note))
        for name, identity, note in links
    ]
    return element("ol", boxes, class_="chain", aria_label="From recipe to number")

"""The sections of the report's page, in their order; each is a pure function of the report and what it shows."""

from __future__ import annotations

from collections.abc import Sequence

from demo.charts import Interval, compact, interval_plot, line_chart
from demo.facts import MEASURES, METHODS, Report, Score
from demo.markup import Markup, element, join
from demo.numbers import duration, fraction, gibibytes, interval, percent, points, signed_interval
from demo.pictures import Exhibits, NeighbourRow, Picture, SampleGroup

DIFFERENCE = "Encoder minus this, linear"
SHORT_NAMES = {"encoder": "Pretrained", "random": "Untrained", "pixels": "Raw pixels", "imagenet": "ImageNet"}


def samples(report: Report, groups: Sequence[SampleGroup]) -> Markup:
    """Show rendered groups, a row each."""
    rows = [
        element(
            "div",
            element("p", element("bdi", group.prompt)),
            element("div", [_image(view) for view in group.views], class_="views"),
            class_="group",
        )
        for group in groups
    ]
    return _section(
        "What the generator drew",
        f"{len(groups)} of {report.render.groups:,} groups by {', '.join(report.generators)}, spread evenly over the "
        "data set, none picked by hand. "
        "All views of a row were rendered from one prompt: to the trainer they are one thing.",
        element("div", rows, class_="groups"),
    )


def results(report: Report) -> Markup:
    """Show what each method's features reach: a plot a measure, and the table."""
    plots = [
        element("figure", element("figcaption", element("span", title), element("b", "balanced accuracy")), plot)
        for title, plot in ((title, _plot(report, measure)) for measure, title in MEASURES.items())
    ]
    return _section(
        "What its features are worth",
        f"Each method turns {report.test_set.images:,} labelled cliparts into features; a linear classifier, or a vote "
        "of nearest neighbours, then names the class of images it has not seen. Bars are 95 % intervals, the dashed "
        "line is chance.",
        element("div", plots, class_="plots"),
        _table(report),
    )


def _plot(report: Report, measure: str) -> Markup:
    chosen = [(name, scores[measure]) for name, scores in _ordered(report)]
    rows = [(SHORT_NAMES[name], name, Interval(score.mean, score.low, score.high)) for name, score in chosen]
    return interval_plot(rows, chance=report.chance)


def _table(report: Report) -> Markup:
    heads = [element("th", head, scope="col") for head in ("Features", *MEASURES.values(), DIFFERENCE)]
    body = [_table_row(report, name, scores) for name, scores in _ordered(report)]
    return element("table", element("thead", element("tr", heads)), element("tbody", body))


def _table_row(report: Report, name: str, scores: dict[str, Score]) -> Markup:
    aside = element("small", "a reference, not a rival") if name == "imagenet" else None
    cells = [
        element("td", _scored(f"results.{name}.{measure}", scores[measure]), data_label=title)
        for measure, title in MEASURES.items()
    ]
    return element(
        "tr", element("th", METHODS[name], aside, scope="row"), cells, _difference_cell(report, name), class_=name
    )


def _scored(key: str, score: Score) -> Markup:
    return join([fraction(f"{key}.mean", score.mean), element("small", interval(key, score))])


def _difference_cell(report: Report, name: str) -> Markup:
    if name not in report.differences:
        return element("td")
    key, score = f"differences.{name}.linear", report.differences[name]["linear"]
    bounds = element("small", signed_interval(key, score))
    return element("td", points(f"{key}.mean", score.mean), bounds, data_label=DIFFERENCE)


def _ordered(report: Report) -> list[tuple[str, dict[str, Score]]]:
    return [(name, report.results[name]) for name in METHODS]


def neighbours(report: Report, rows: Sequence[NeighbourRow]) -> Markup:
    """Show random queries with what lies nearest to them."""
    by_encoder, by_pixels = _hits(rows, [row.encoder for row in rows]), _hits(rows, [row.pixels for row in rows])
    return _section(
        "What looks alike to it",
        f"Cliparts of “{report.test_set.split}” drawn at random, one from each of {len(rows)} classes, with the images "
        f"nearest to each. A tick marks the query's own class: {by_encoder} by the encoder, {by_pixels} by raw pixels.",
        element("div", [_neighbour(row) for row in rows], class_="neighbours"),
    )


def _neighbour(row: NeighbourRow) -> Markup:
    query = element("figure", _image(row.query), element("figcaption", row.query.label), class_="query")
    strips = [
        _strip(name, row.query.label, found) for name, found in (("Encoder", row.encoder), ("Pixels", row.pixels))
    ]
    return element("div", query, strips, class_="neighbour")


def _strip(name: str, label: str, found: Sequence[Picture]) -> Markup:
    pictures = [element("span", _image(picture), class_="hit" if picture.label == label else None) for picture in found]
    return element("div", element("b", name), element("div", pictures, class_="views"), class_="strip")


def _hits(rows: Sequence[NeighbourRow], found: Sequence[Sequence[Picture]]) -> str:
    hits = [picture.label == row.query.label for row, pictures in zip(rows, found, strict=True) for picture in pictures]
    return f"{sum(hits)} of {len(hits)}"


def training(report: Report, metrics: Sequence[dict[str, float]]) -> Markup:
    """Show the curves of the pretraining run."""
    run, seen = report.pretrain, [line["images_seen"] for line in metrics]
    floors = [line["loss"] - line["loss_minus_log_positives"] for line in metrics if "loss_minus_log_positives" in line]
    floor = sum(floors) / len(floors) if floors else None
    waits = [100 * line["data_wait_fraction"] for line in metrics]
    charts = [
        line_chart("Loss", f"{run.loss:.2f}", seen, [line["loss"] for line in metrics], floor=floor),
        line_chart(
            "Images a second", f"{run.images_per_s:.0f}", seen, [line["images_per_s"] for line in metrics], unit=" "
        ),
        line_chart("Time spent waiting for data", percent(run.data_wait_fraction), seen, waits, unit=" %"),
    ]
    lead = f"{compact(run.images_seen)} images seen in {duration(run.seconds)}."
    if floor is not None:
        lead += " The dashed line is the least this loss can reach: the logarithm of the number of positives."
    return _section("How it learnt", lead, element("div", charts, class_="charts"))


def limits(report: Report) -> Markup:
    """Say what the result shows and what it does not."""
    shown = [
        "Every image can be rendered again from its row, and every shard checked against the root below.",
        "The encoder saw rendered images only, and the cliparts are other people's.",
        "All methods share the test images and the way their one setting was chosen.",
    ]
    not_shown = [
        f"What other seeds would give: this is one, on “{report.test_set.split}”, and the intervals cover the choice "
        "of test images only.",
        "Which method is best: one small encoder after minutes of training stands beside baselines, nothing more.",
        "Learning without people's pictures: the generator learnt from them before it drew anything, and the ImageNet "
        "reference from over a million labelled photographs.",
    ]
    columns = [
        element("div", element("h3", title), element("ul", [element("li", item) for item in items]))
        for title, items in (("You can rely on this", shown), ("It does not show", not_shown))
    ]
    return _section("What this result is and is not", None, element("div", columns, class_="limits"))


def origins(report: Report, exhibits: Exhibits) -> Markup:
    """List every hash in the chain, the machine, the versions, and the recipe and config as resolved."""
    facts = {
        "Data set root": report.root,
        "Stream ids" if report.stream_ids[1:] else "Stream id": " ".join(report.stream_ids),
        "Config sha256": report.config_sha256,
        "Encoder sha256": report.encoder_sha256,
        "Test set root": report.test_set.root,
        "Commit": report.commit or "not a git checkout",
        "Hardware": ", ".join(report.hardware.values()),
        "Versions": ", ".join(f"{name} {version}" for name, version in report.versions.items()),
    }
    entries = [(element("dt", name), element("dd", element("code", value))) for name, value in facts.items()]
    return _section(
        "Where it comes from",
        None,
        element("dl", entries),
        _fold("Recipe, as resolved", exhibits.recipe),
        _fold("Training config, as resolved", exhibits.config),
        _fold(f"Shards ({len(exhibits.shards)})", "\n".join(f"{sha256}  {name}" for name, sha256 in exhibits.shards)),
    )


def again(report: Report) -> Markup:
    """Show the commands that made all this."""
    lines = [
        f"# {name}: {duration(report.steps[name])}, {gibibytes(report.steps_memory_peak_bytes[name])}\n{command}"
        for name, command in report.commands.items()
    ]
    return _section(
        "Do it again",
        "The same recipe on the same software and kind of processor gives the same root. All steps at once: make demo.",
        element("pre", element("code", "\n".join(lines)), tabindex=0),
    )


def _section(title: str, lead: str | None, *children: Markup) -> Markup:
    return element("section", element("h2", title), element("p", lead, class_="lead") if lead else None, children)


def _fold(title: str, text: str) -> Markup:
    return element("details", element("summary", title), element("pre", element("code", text), tabindex=0))


def _image(picture: Picture) -> Markup:
    return element(
        "img", src=picture.uri, alt=picture.label, title=picture.label, width=64, height=64, decoding="async"
    )

"""Nothing that came from somebody else becomes a tag."""

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from demo.markup import Markup, element, join


class Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(markup: str) -> Collector:
    collector = Collector()
    collector.feed(markup)
    collector.close()
    return collector


# A parser joins line ends and replaces NUL by the standard's rules; neither can make a tag.
plain_text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\x00"))


@settings(deadline=None)
@given(plain_text, plain_text)
def test_any_text_comes_back_as_text_and_any_value_as_a_value(text: str, value: str) -> None:
    page = parse(element("p", text, title=value))
    assert page.tags == [("p", {"title": value})]
    assert page.text == text


def test_elements_nest_without_being_escaped_twice() -> None:
    assert element("p", "a < b ", element("b", "c & d")) == "<p>a &lt; b <b>c &amp; d</b></p>"


def test_only_elements_are_markup() -> None:
    assert isinstance(element("p"), Markup)
    assert not isinstance("<p>" + element("b"), Markup), "gluing text to markup must lose the mark"
    assert join(["<", element("br"), ">", None, 3]) == "&lt;<br/>&gt;3"


def test_attributes_take_python_names_and_leave_out_what_is_absent() -> None:
    assert element("line", class_="grid", data_key="a.b", x1=0, hidden=True, title=None, disabled=False) == (
        '<line class="grid" data-key="a.b" x1="0" hidden/>'
    )

"""The page holds what hostile answers throw at it, shows real frames, stays small, and fits a phone."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from factory import make_clip, make_image
from shipping import judged, row, rows, write
from tao_runtime.ship.examples import place
from tao_runtime.ship.judge import Options, ResultSet, judge_ship
from tao_runtime.ship.page import shown
from tao_runtime.ship.thumbnails import FRAMES, HEIGHT, thumbnail
from tao_runtime.ship.write import write_ship

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7*7 }}{% for x in y %}",
    "\u202egnp.exe \x00\x1b[31m \ud800",
    "word" * 5000,
)
ELEMENTS = set(
    re.findall(
        r"\w+",
        "html head meta title style body header h1 h2 h3 p small b i br table thead tbody tr th td div span section "
        "svg rect line circle text ul li article img dl dt dd bdi details summary",
    )
)


class Tags(HTMLParser):
    """Every start tag with its attributes, and that what opens closes."""

    VOID = frozenset({"meta", "br", "img", "rect", "line", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text())
    assert tags.open == []
    return tags


def hostile_rows(right: bool) -> list[dict[str, object]]:
    out = []
    for i in range(36):
        text = HOSTILE[i % len(HOSTILE)]
        said = "yes" if right else f"no {text}"
        out.append(row(i, right=right, video_id=f"{i}{text}", question=text, gt="yes", response=said, video=text))
    return out


def test_hostile_answers_stay_text(tmp_path: Path) -> None:
    report = judged(tmp_path, hostile_rows(True), hostile_rows(False), media_root=tmp_path)
    write_ship(report, tmp_path / "out")
    tags = read(tmp_path / "out/ship.html")
    assert {tag for tag, _ in tags.seen} <= ELEMENTS
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on")]
    text = (tmp_path / "out/ship.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7*7 }}{% for x in y %}" in text  # no template of ours
    assert not {"\u202e", "\x00", "\x1b"} & set(text)
    assert "\\u202egnp.exe" in text
    assert json.loads((tmp_path / "out/ship.json").read_text())["page"] == "ship.html"


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    write_ship(judged(tmp_path, rows("1" * 30), rows("0" * 30)), tmp_path / "out")
    tags = read(tmp_path / "out/ship.html")
    links = [attributes.get(name) for _, attributes in tags.seen for name in ("src", "href") if name in attributes]
    assert all(str(link).startswith("data:image/jpeg;base64,") for link in links)
    policy = next(a["content"] for tag, a in tags.seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'")


def with_clips(root: Path) -> Path:
    """Thirty questions that were lost, on clips and pictures; returns the folder of the page."""
    answers: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    (root / "media").mkdir(parents=True)
    for i in range(30):
        name = f"{i}.png" if i % 3 == 2 else f"{i}.mp4"
        make_image(root / "media" / name) if i % 3 == 2 else make_clip(root / "media" / name)
        for right in (True, False):
            answers[right].append(row(i, right=right, video=name))
    report = judged(root, answers[True], answers[False], media_root=root / "media", examples=9)
    write_ship(report, root / "out")
    return root / "out"


def test_examples_show_frames_and_the_page_stays_small(tmp_path: Path) -> None:
    page = with_clips(tmp_path) / "ship.html"
    sources = [attributes["src"] for tag, attributes in read(page).seen if tag == "img"]
    assert len(sources) == 9
    for source in sources:
        with Image.open(io.BytesIO(base64.b64decode(str(source).partition(",")[2]))) as picture:
            assert picture.height == HEIGHT
    assert page.stat().st_size < 300_000


def test_a_strip_has_four_frames(tmp_path: Path) -> None:
    found = thumbnail(str(make_clip(tmp_path / "a.mp4")))
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found.partition(",")[2]))) as picture:
        assert picture.size == (FRAMES * HEIGHT + 2 * (FRAMES - 1), HEIGHT)
    (tmp_path / "bad.mp4").write_bytes(b"no clip")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    bad = ("bad.mp4", "bad.png", "gone.mp4")
    assert [thumbnail(str(tmp_path / name)) for name in bad] == [None, None, None]


def test_media_outside_the_root_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    make_image(tmp_path / "secret.png")
    (tmp_path / "root/link.png").symlink_to(tmp_path / "secret.png")
    root = str(tmp_path / "root")
    assert place(root, "../secret.png") is place(root, str(tmp_path / "secret.png")) is place(root, "link.png") is None
    assert place(root, "a\0b") is place(None, "a.png") is place(root, None) is place(root, "\ud800") is None
    assert place(root, "in/a.png") == str(tmp_path / "root/in/a.png")


def test_no_report_has_nothing_to_show(tmp_path: Path) -> None:
    """No pairs, no slices, no flips: the page still says so."""
    places = {"base": write(tmp_path / "b", rows("1")), "tuned": write(tmp_path / "t", [])}
    report = judge_ship([ResultSet("evaluation", "evaluation", places)], Options())
    write_ship(report, tmp_path / "out")
    assert "Cannot tell yet" in (tmp_path / "out/ship.html").read_text()
    assert read(tmp_path / "out/ship.html").seen


def test_what_cannot_be_seen_is_shown() -> None:
    assert shown("a\u200bb\n\u202e") == "a\\u200bb\n\\u202e"


@pytest.mark.slow
def test_in_a_browser(tmp_path: Path) -> None:
    """No console message, nothing wider than the screen, every picture decodes, no script runs."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    write_ship(judged(tmp_path, hostile_rows(True), hostile_rows(False)), tmp_path / "hostile")
    paths = (with_clips(tmp_path / "clips") / "ship.html", tmp_path / "hostile/ship.html")
    with playwright.sync_playwright() as run:
        chromium = run.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for path, width, scheme in product(paths, (390, 1200), ("light", "dark")):
            page = chromium.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("dialog", lambda dialog, said=said: said.append(dialog.message))
            page.on("request", lambda request, said=said: said.append(request.url) if "http" in request.url else None)
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every(each => each.complete && each.naturalWidth > 0)")
            assert page.evaluate("document.images.length") == (9 if "clips" in path.parts else 0)
            assert said == []
            page.close()
        chromium.close()

"""The page in a real browser without a network: drawn from left to right, click, search, zoom."""

from __future__ import annotations

import shutil

import pytest

from pipeline.lineage.page import render, write
from pipeline.metadata.graph import Artifact, Edge, Execution, Graph
from tests.pipeline.lineage.conftest import run

NODES = (
    *("ImportExampleGen", "StatisticsGen", "RecordSchema", "ExampleValidator", "Transform"),
    *("Trainer", "Evaluator", "ServingCheck", "Pusher"),
)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium that logs its errors and its requests."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1500,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture
def show(browser):
    """Opens a page; afterwards neither an error nor a request for anything but it is logged."""
    opened = []

    def open_page(path):
        browser.get_log("performance")
        browser.get(f"file://{path}")
        opened.append(f"file://{path}")
        return browser

    yield open_page
    assert browser.get_log("browser") == []
    sent = [
        e["message"] for e in browser.get_log("performance") if "requestWillBeSent" in e["message"]
    ]
    assert all(opened[0] in message for message in sent), sent


def boxes(browser, selector: str = ".node") -> dict[str, dict]:
    """Where each node is on the screen."""
    return browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll(arguments[0])].map("
        "n => { const b = n.getBoundingClientRect();"
        " return [n.dataset.id, {x: b.x, y: b.y, width: b.width, height: b.height}]; }))",
        selector,
    )


def overlapping(found: dict[str, dict]) -> list[tuple[str, str]]:
    items = sorted(found.items(), key=lambda item: item[1]["x"])
    return [
        (a, b)
        for n, (a, one) in enumerate(items)
        for b, two in items[n + 1 :]
        if two["x"] < one["x"] + one["width"] and one["x"] < two["x"] + two["width"]
        if two["y"] < one["y"] + one["height"] and one["y"] < two["y"] + two["height"]
    ]


def letters(browser) -> float:
    """Height in pixels of the smallest text in the graph."""
    return browser.execute_script(
        "return Math.min(...[...document.querySelectorAll('.node text')].map("
        "t => t.getBoundingClientRect().height))"
    )


def many(runs: int) -> Graph:
    """Executions and artifacts as that many runs of the pipeline would leave."""
    graph = Graph()
    number = 0
    first = None
    for run_number in range(runs):
        before = first
        for node in NODES:
            number += 1
            cached = run_number % 3 == 1 and node == "ImportExampleGen"
            state = "failed" if node == "Pusher" and run_number % 4 == 3 else "complete"
            output = Edge("output", first) if cached else Edge("output", number)
            if not cached:
                graph.artifacts[number] = Artifact(
                    number, f"Made by {node}", f"/a/{number}", "live", "", {}, 0
                )
                graph.producers[number] = number
            inputs = (Edge("input", before),) if before else ()
            graph.executions[number] = Execution(
                number,
                node,
                str(number),
                "cached" if cached else state,
                {"n": number},
                (("pipeline", "p"), ("pipeline_run", f"r{run_number}"), ("node", f"p.{node}")),
                0,
                1000,
                inputs,
                (output,),
            )
            before = output.artifact
            first = first or number
    return graph


def test_a_run_of_tfx_is_drawn_from_left_to_right(pushed_run, show, tmp_path):
    page = tmp_path / "lineage.html"
    name = pushed_run.summary["run_id"]
    said = run("html", "--metadata", pushed_run.root / "metadata.sqlite", name, "-o", page)
    assert said.status == 0, said.errors
    browser = show(page)
    found = boxes(browser)
    assert len(found) == browser.execute_script(
        "return JSON.parse(document.getElementById('data').textContent).nodes.length"
    )
    assert 20 <= len(found) <= 40 and overlapping(found) == []
    assert letters(browser) >= 8
    titles = {
        node.find_element("css selector", "text").text: found[node.get_attribute("data-id")]["x"]
        for node in browser.find_elements("css selector", ".execution")
    }
    order = [
        "PhotoScan",
        "Convert",
        "ImportExampleGen",
        "Transform",
        "Trainer",
        "Evaluator",
        "Pusher",
    ]
    assert [titles[name] for name in order] == sorted(titles[name] for name in order)


def test_a_click_shows_the_properties(pushed_run, show, tmp_path):
    page = tmp_path / "lineage.html"
    name = pushed_run.summary["run_id"]
    run("html", "--metadata", pushed_run.root / "metadata.sqlite", name, "-o", page)
    browser = show(page)
    trainer = next(
        node
        for node in browser.find_elements("css selector", ".execution")
        if node.get_attribute("aria-label").startswith("Trainer")
    )
    facts = browser.find_element("id", "facts")
    assert not facts.is_displayed()
    trainer.click()
    assert facts.is_displayed() and "models.trainer.run_fn" in facts.text
    assert browser.find_elements("css selector", ".edge.near")
    browser.find_element("id", "close").click()
    assert not facts.is_displayed()
    trainer.send_keys("\n")
    assert facts.is_displayed(), "by the keyboard too"
    browser.find_element("id", "find").send_keys("pushed")
    assert "found" in browser.find_element("id", "found").text
    assert browser.find_elements("css selector", ".node.dim")


def test_two_hundred_nodes_can_be_read(show, tmp_path):
    graph = many(12)
    assert len(graph.executions) + len(graph.artifacts) >= 200
    write(graph, "many runs", tmp_path / "many.html")
    browser = show(tmp_path / "many.html")
    found = boxes(browser)
    assert len(found) == len(graph.executions) + len(graph.artifacts)
    assert overlapping(found) == []
    assert letters(browser) >= 8, "the text is not shrunk to fit: the canvas scrolls"
    for state, count in (("cached", 4), ("failed", 3)):
        assert len(browser.find_elements("css selector", f".execution.{state}")) == count
    assert len(browser.find_elements("css selector", ".edge.found")) == 4
    browser.find_element("id", "fit").click()
    canvas = browser.find_element("id", "canvas")
    fits = "return arguments[0].scrollWidth <= arguments[0].clientWidth"
    assert browser.execute_script(fits, canvas)


def test_texts_cannot_become_code(show, tmp_path):
    graph = many(1)
    evil = '</script><script>document.title="taken"</script><img src=x onerror=alert(1)>{{data}}'
    evil += "<!--<script>"
    graph.artifacts[1] = Artifact(1, evil, evil, "live", evil, {evil: evil}, 0)
    write(graph, evil, tmp_path / "evil.html")
    browser = show(tmp_path / "evil.html")
    assert browser.title == f"Lineage: {evil}"
    browser.find_element("css selector", '[data-id="a1"]').click()
    assert evil in browser.find_element("id", "facts").text
    assert not browser.find_elements("css selector", "img")


def test_the_ancestry_of_an_artifact(stores, tmp_path):
    page = tmp_path / "lineage.html"
    said = run("html", "--metadata", stores.cheap, "--artifact", "2", "-o", page)
    assert said.status == 0 and "2 executions, 2 artifacts" in said.output
    said = run("html", "--metadata", stores.cheap, "--artifact", "99", "-o", page)
    assert said.status == 2 and "no artifact 99" in said.errors


def test_the_page_carries_the_licence_of_its_layout_library():
    assert "@dagrejs/dagre" in render(many(1), "x") and "MIT" in render(many(1), "x")

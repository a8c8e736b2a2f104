"""The page in a real browser, with the model of a real run."""

import json
import os
import shutil
import urllib.request

import pytest

from tests.pipeline.serve.conftest import Server, photo

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


@pytest.fixture(scope="module")
def server(pushed_run):
    server = Server(pushed_run.root / "serving")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (os.access(CHROMIUM, os.X_OK) and os.access(DRIVER, os.X_OK)):
        pytest.skip("needs Debian's chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1120,900",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    driver.implicitly_wait(10)
    yield driver
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)


def text(browser, css: str) -> str:
    return browser.find_element("css selector", css).text


def wait(browser, condition, what: str):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: condition(), what)


def test_a_dropped_photo_gets_a_label_and_the_lineage_is_shown(
    browser, server, pushed_run, photos, tmp_path
):
    browser.get(server.url)
    wait(browser, lambda: text(browser, "#status") == "version 1", "the served version")
    assert text(browser, "h1") == "pawprint"

    chosen = sorted((photos / "cat").glob("*.jpg"))[0]
    browser.find_element("id", "file").send_keys(str(chosen))
    wait(browser, lambda: text(browser, ".result .label"), "a label")
    assert text(browser, ".result .label") in ("cat", "dog")
    names = [e.text for e in browser.find_elements("css selector", ".bars li span:first-child")]
    assert sorted(names) == ["cat", "dog"] and names[0] == text(browser, ".result .label")
    shares = [float(e.text.rstrip(" %")) for e in browser.find_elements("css selector", ".bars b")]
    assert sum(shares) == pytest.approx(100, abs=0.2) and shares == sorted(shares, reverse=True)
    note = text(browser, ".result .note")
    assert chosen.name in note and "version 1" in note
    assert browser.execute_script("return document.querySelector('.result img').naturalWidth") > 0

    run = text(browser, "#run")
    assert pushed_run.summary["run_id"] in run and "pawprint" in run
    digest = json.loads(
        next(pushed_run.root.glob("pipeline/Trainer/model/*/model_card.json")).read_text()
    )["provenance"]["data_digest"]
    assert digest[:12] in run
    executions = [e.text for e in browser.find_elements("css selector", "#executions li")]
    for node in ("ImportExampleGen", "Trainer", "Evaluator", "Pusher"):
        assert any(line.startswith(node) for line in executions), node
    assert "efficientnet_lite0" in text(browser, "#model")

    shot = tmp_path / "page.png"
    browser.save_screenshot(str(shot))
    assert shot.stat().st_size > 10_000
    if where := os.environ.get("PAWPRINT_SCREENSHOTS"):
        shutil.copy(shot, where)


def test_a_file_that_is_not_a_photo_gets_an_error_message(browser, server, tmp_path):
    (tmp_path / "letter.jpg").write_text("dear server")
    browser.get(server.url)
    wait(browser, lambda: text(browser, "#status") == "version 1", "the served version")
    browser.find_element("id", "file").send_keys(str(tmp_path / "letter.jpg"))
    wait(browser, lambda: text(browser, ".result.failed .label"), "a reason")
    reason = text(browser, ".result.failed .label")
    assert reason.startswith(
        "not an image; it begins with b'dear ser'; supported formats: JPEG, PNG, GIF,"
    )


def test_several_photos_by_drag_and_drop(browser, server):
    browser.get(server.url)
    wait(browser, lambda: text(browser, "#status") == "version 1", "the served version")
    browser.execute_script(
        """
        const transfer = new DataTransfer();
        for (const content of arguments[0]) {
          transfer.items.add(new File([new Uint8Array(content)], "dropped.jpg"));
        }
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        """,
        [list(photo("black")), list(photo("white", "PNG"))],
    )
    wait(
        browser,
        lambda: len([e for e in browser.find_elements("css selector", ".label") if e.text]) == 2,
        "two labels",
    )


def test_a_prediction_without_lineage_is_shown(browser, server, photos):
    browser.get(server.url)
    wait(browser, lambda: browser.execute_script("return known.size"), "the lineage")
    browser.execute_script(
        """
        const real = window.fetch;
        const failed = () => Promise.resolve(new Response('{"error": "x"}', { status: 500 }));
        window.fetch = (path, how) => (path.endsWith("/lineage") ? failed() : real(path, how));
        known.clear();
        """
    )
    browser.find_element("id", "file").send_keys(str(next((photos / "cat").glob("*.jpg"))))
    wait(browser, lambda: text(browser, ".result .label"), "a label")
    assert text(browser, ".result .label") in ("cat", "dog")
    names = [e.text for e in browser.find_elements("css selector", ".bars li span:first-child")]
    assert sorted(names) == ["label 0", "label 1"]


@pytest.mark.slow
def test_an_unreachable_server_is_shown(browser, models):
    server = Server(models[1])
    browser.get(server.url)
    wait(browser, lambda: text(browser, "#status") == "version 1", "the served version")
    assert "next to the served folder" in text(browser, "#missing")
    server.stop()
    wait(browser, lambda: "not reached" in text(browser, "#status"), "the loss")


def test_the_page_loads_nothing_from_other_hosts(browser, server):
    for log in ("performance", "browser"):
        browser.get_log(log)  # what was before
    browser.get(server.url)
    wait(browser, lambda: text(browser, "#status") == "version 1", "the served version")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) > 3
    assert [url for url in asked if not url.startswith((server.url, "data:"))] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    with urllib.request.urlopen(server.url) as page:
        assert "unsafe" not in page.headers["Content-Security-Policy"]

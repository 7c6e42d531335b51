"""Real Chromium, without a window and without a network; a page that reports what its policy blocked and what it asked for."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from importlib.util import find_spec

PHONE, ZOOMED = 360, 640  # pixels: a phone's window; one of 1,280 at 200 %
# What a window cuts off: elements beyond its edges that nothing scrolls to, and content that an element of its own hides.
CUT = """() => {
  const lost = document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [];
  for (const each of document.querySelectorAll("body *:not(.skip, input)")) {
    const { left, right, width } = each.getBoundingClientRect(), scrolled = each.parentElement.closest(".scroll");
    const hides = ["hidden", "clip"].includes(getComputedStyle(each).overflowX) && each.scrollWidth > each.clientWidth;
    if (width && each.checkVisibility() && !each.closest("svg") && (hides || (!scrolled && (left < 0 || right > innerWidth + 0.5)))) lost.push(each.outerHTML.slice(0, 100));
  }
  return lost;
}"""
# What people act on with a mouse, in the order of the page.
ACTIVE = """[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")].filter(
  (each) => each.checkVisibility() && each.type !== "hidden")"""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program():
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def lacks_chromium():
    """Return why nothing can be shown in a browser here, "" if it can."""
    return "" if program() and find_spec("playwright") else "chromium and playwright are not installed"


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a stranger may not have it

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox"])
        try:
            yield running
        finally:
            running.close()


class Watched:
    """A page, offline unless told otherwise, of which requests, policy reports and errors are kept."""

    def __init__(self, browser, *, offline=True, **options):
        self.context = browser.new_context(offline=offline, accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.add_init_script(
            "window.reports = []; document.addEventListener('securitypolicyviolation', (event) => window.reports.push(event.violatedDirective))"
        )

    def violations(self):
        """Return what axe-core finds."""
        from axe_playwright_python.base import AXE_SCRIPT  # noqa: PLC0415 - a stranger may not have it

        self.page.evaluate(AXE_SCRIPT)
        return [each["id"] for each in self.page.evaluate("axe.run().then((result) => result.violations)")]

    def cut(self, width):
        """Return what a window of a width, in pixels, loses of the page."""
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": width, "height": 640})
        lost = self.page.evaluate(CUT)
        self.page.set_viewport_size(before)
        return lost

    def out_of_reach(self):
        """Return what the key Tab does not lead to, or leads to without anybody seeing where it is."""
        self.page.evaluate(
            f"window.active = {ACTIVE}; document.activeElement.blur(); window.getSelection().removeAllRanges()"
        )
        missed = set(range(self.page.evaluate("window.active.length")))
        for _ in range(len(missed) + 2):
            self.page.keyboard.press("Tab")
            seen = (
                "[window.active.indexOf(document.activeElement), getComputedStyle(document.activeElement).outlineStyle]"
            )
            number, outline = self.page.evaluate(seen)
            missed -= {number} if outline != "none" else set()
        return [self.page.evaluate(f"window.active[{number}].outerHTML") for number in sorted(missed)]

    def reports(self):
        """Return what the page's policy blocked."""
        return self.page.evaluate("window.reports")

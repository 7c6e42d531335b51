"""Real Chromium, without a window and without a network; a page that reports what its policy blocked and what it asked for."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from importlib.util import find_spec

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

    def reports(self):
        """Return what the page's policy blocked."""
        return self.page.evaluate("window.reports")

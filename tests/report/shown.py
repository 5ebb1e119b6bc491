"""A page in Chromium, as tests look at it."""

from pathlib import Path

WIDE, PHONE = (1280, 900), (390, 800)


class Shown:
    """A page opened from disk, without a network; what it complains of and asks for."""

    def __init__(self, browser, path: Path, size=WIDE, scheme="light") -> None:
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(d.message), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(path.as_uri())
        self.address = path.as_uri()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.text_content()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def column(self, table: str, number: int) -> list[str]:
        cells = self.page.locator(f"#{table} tbody tr td:nth-child({number})")
        return cells.evaluate_all("cells => cells.map(c => c.dataset.sort)")

    def close(self) -> None:
        assert self.complaints == []
        assert [u for u in self.requests if not u.startswith("data:")] == [self.address]
        self.context.close()

"""The report of a code library, in a browser: why a program is wrong can be seen without looking for it."""

import pytest

import chromium
import gradatim as gr
from code_pool import answer, code_library, program, record_texts

pytestmark = [
    pytest.mark.skipif(chromium.PROGRAM is None, reason=chromium.WHY_NOT),
    pytest.mark.slow,
]
SEEN = """
[...document.querySelectorAll('#questions .testcase')].map((one) => [
    one.closest('.panel') === null, one.getBoundingClientRect().height > 40, one.innerText])
"""


def test_the_test_that_a_program_failed_stands_below_it(tmp_path):
    """A long program scrolls in its panel; the first failure is outside of it, with its number, input and values."""
    with code_library(tmp_path, 6) as library:
        record_texts(library, tmp_path, "base", lambda n: [answer("# a long program\n" * 200 + program(n, 3))])
        record_texts(library, tmp_path, "teacher", lambda n: [answer(program(n))], role="teacher")
        gr.verify(library)
        gr.grade(library)
        gr.sample(library, gr.SampleSettings(name="d", size=2, mix="explicit:0,0,0,1,0"))
        gr.curate(library, "d")
        gr.report(library, gr.ReportSettings(out=str(tmp_path / "report.html")))

    async def look(page):
        await page.open(tmp_path / "report.html")
        return await page.run(SEEN), await page.run("document.querySelector('#questions').innerText")

    with chromium.started() as browser:
        seen, text = browser.visit(look)
    assert seen
    assert "Reference: its tests (" in text
    for outside, tall, text in seen:
        assert (outside, tall) == (True, True)
        assert "test 4 of 10: wrong_answer" in text
        assert "expected" in text

"""A document whose sections are replaced one by one."""

from __future__ import annotations

from train.research.markdown import put_sections, sections, stamp

ORDER = ("First", "Second")


def test_a_section_that_is_not_made_stays_as_it_stands(tmp_path):
    path = tmp_path / "told.md"
    path.write_text(
        "# Title\n\n## Second\n\nold  words,\nold lines\n\n### Deeper\n\n## Own\n\nmine\n"
    )
    put_sections(path, {"First": "new", "Second": "newer"}, ORDER)
    assert (
        path.read_text() == "# Title\n\n## First\n\nnew\n\n## Second\n\nnewer\n\n## Own\n\nmine\n"
    )
    put_sections(path, {"": "# Other\n\nabove"}, ORDER)
    assert list(sections(path.read_text())) == ["", "First", "Second", "Own"]
    assert "## Second\n\nnewer\n" in path.read_text()


def test_a_section_left_alone_keeps_every_line(tmp_path):
    path = tmp_path / "told.md"
    kept = "## Second\n\nold  words,\nold lines\n\n### Deeper\n\n| a |\n| --- |"
    path.write_text(f"# Title\n\n{kept}\n")
    put_sections(path, {"First": "new"}, ORDER)
    assert path.read_text().endswith(f"{kept}\n")


def test_a_document_is_made_where_there_is_none(tmp_path):
    put_sections(tmp_path / "new.md", {"Second": "two", "": "# Title", "First": "one"}, ORDER)
    told = (tmp_path / "new.md").read_text()
    assert told == "# Title\n\n## First\n\none\n\n## Second\n\ntwo\n"


def test_paragraphs_are_filled_and_tables_are_not(tmp_path):
    table = "| " + "x" * 120 + " |\n| --- |"
    put_sections(tmp_path / "new.md", {"First": f"{'word ' * 40}\nend\n\n{table}"}, ORDER)
    lines = (tmp_path / "new.md").read_text().splitlines()
    assert [line for line in lines if len(line) > 100] == [table.splitlines()[0]]
    assert "word end" in " ".join(lines)


def test_the_stamp_says_when_and_how():
    assert "`python -m train.research.results`: Python 3." in stamp(
        "python -m train.research.results"
    )

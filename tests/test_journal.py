import json

import pytest

from searchhub.errors import RunFolderError
from searchhub.journal import START, Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_appends_a_line_each(path):
    journal = Journal(path)
    assert journal.end == START
    journal.append({"trial": 0})
    journal.append({"trial": 1, "what": "θ\n"})
    assert lines(path) == [{"trial": 0}, {"trial": 1, "what": "θ\n"}]
    assert Journal(path).end == journal.end


def test_is_cut_back_to_a_mark_and_goes_on(path):
    journal = Journal(path)
    journal.append({"trial": 0})
    mark = journal.end
    journal.append({"trial": 1})
    journal.append({"trial": 2})
    again = Journal(path)
    assert again.objection(mark) is None
    assert again.cut(mark) == (2, False)
    assert again.end == mark
    again.append({"trial": 9})
    assert lines(path) == [{"trial": 0}, {"trial": 9}]
    assert Journal(path).end == again.end


def test_a_torn_line_is_cut(path):
    journal = Journal(path)
    journal.append({"trial": 0})
    with path.open("ab") as file:
        file.write(b'{"trial": 1, "sco')
    again = Journal(path)
    assert again.cut(journal.end) == (0, True)
    assert lines(path) == [{"trial": 0}]


def test_nothing_beyond_a_mark_is_nothing_to_cut(path):
    journal = Journal(path)
    assert journal.cut(START) == (0, False)
    assert not path.exists()


def test_objects_to_a_mark_that_it_does_not_reach(path):
    journal = Journal(path)
    journal.append({"trial": 0})
    mark = journal.end
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "is shorter than when it was made (12 < 13 bytes)" in Journal(path).objection(mark)
    path.write_bytes(whole.replace(b"0", b"1"))
    assert "was changed since it was made" in Journal(path).objection(mark)


def test_a_second_writer_is_noticed(path):
    journal = Journal(path)
    journal.append({"trial": 0})
    Journal(path).append({"trial": 0})
    with pytest.raises(RunFolderError, match="must be 13 bytes long, as this search left it, but is 26"):
        journal.append({"trial": 1})

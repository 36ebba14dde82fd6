import io
import os
import sys
import threading

import pytest

from clstm.cli.data_files import DataError, line_batches
from clstm.cli.example_files import read_examples

EXPECTED = (["a fine film", "dull, and long"], ["pos", "neg"])


@pytest.fixture
def read(tmp_path):
    """Write bytes or text to a file and read it."""

    def read(content, name="data.txt", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        examples = read_examples(path, **options)
        assert examples.source == str(path)
        return examples.texts, examples.labels

    return read


def fails(read, content, message, name="data.txt", **options):
    with pytest.raises(DataError) as caught:
        read(content, name, **options)
    assert f"{os.sep}{name}{message}" in str(caught.value)


# ------------------------------------------------------------------------------------------------- every format


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "pos\ta fine film\nneg\tdull, and long\n"),
        ("a.tsv", "a fine film\tpos\ndull, and long\tneg"),
        ("a.TAB", "text\tlabel\na fine film\tpos\ndull, and long\tneg\n"),
        ("a.txt", "Label\tText\npos\ta fine film\nneg\tdull, and long\n"),
        ("a.csv", 'text,label\na fine film,pos\n"dull, and long",neg\n'),
        ("a.csv", 'id,sentiment,review\n1,pos,a fine film\n2,neg,"dull, and long"\n'),
        ("a", 'label,text\npos,"a fine film"\nneg,"dull, and long"\n'),
        ("a.jsonl", '{"text": "a fine film", "label": "pos"}\n{"label": "neg", "text": "dull, and long", "id": 7}\n'),
        ("a.ndjson", '{"sentence": "a fine film", "class": "pos"}\n{"sentence": "dull, and long", "class": "neg"}\n'),
        ("a.txt", '\n  {"text": "a fine film", "label": "pos"}\n{"text": "dull, and long", "label": "neg"}\n'),
        ("a.txt", "__label__pos a fine film\n__label__neg dull, and long\n"),
        ("a.train", "__label__pos , a fine film\ndull, and long __label__neg\n"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_formats(read, name, content, ends, bom):
    if "," in content.partition("film")[0] and name == "a.train":
        content = content.replace(" , ", " ")
    # each file has more texts than labels, so that the label column of a table without header can be told
    more = content.rstrip("\n").rpartition("\n")[2].replace("dull, and long", "dull").replace("2,", "3,", 1)
    content = content.rstrip("\n") + "\n" + more + "\n"
    texts, labels = read(bom + content.replace("\n", ends).encode(), name)
    assert (texts[:2], labels[:2]) == EXPECTED
    assert (texts[2:], labels[2:]) == (["dull"], ["neg"])


def test_format_can_be_forced(read):
    content = "pos\ta,b\nneg\tc,d\nneg\te,f\n"
    assert read(content, "a.csv", format="tsv")[0] == ["a,b", "c,d", "e,f"]
    assert read("__label__x {a\t,b}\n", "a.json", format="fasttext") == (["{a\t,b}"], ["x"])


def test_blank_lines_are_skipped_and_outer_spaces_removed(read):
    assert read("\n\n pos \t a fine film \n\t\n   \n neg\tdull, and long\nneg\tx\n\n", "a.tsv") == (
        [*EXPECTED[0], "x"],
        [*EXPECTED[1], "neg"],
    )
    assert read("text,label\n\n a b , pos \n,\n", "a.csv") == (["a b"], ["pos"])


def test_unicode_line_separators_are_text(read):
    assert read("__label__x a\u2028b\x85c\x0bd\n") == (["a\u2028b\x85c\x0bd"], ["x"])


def test_text_may_be_empty(read):
    assert read("__label__x\n") == ([""], ["x"])
    assert read("text,label\n,pos\n", "a.csv") == ([""], ["pos"])


def test_one_class_is_accepted(read):
    assert read("__label__x a\n__label__x b\n") == (["a", "b"], ["x", "x"])


# ------------------------------------------------------------------------------------------------ quotes, CSV, TSV


def test_csv_quotes(read):
    content = 'label,text\n1,"He said ""no"", twice"\n0,"two\nlines"\n1,it is "fine"\n'
    assert read(content, "a.csv") == (['He said "no", twice', "two\nlines", 'it is "fine"'], ["1", "0", "1"])


def test_csv_line_end_inside_quotes_stays(read):
    assert read(b'label,text\r\n1,"two\r\nlines"\r\n', "a.csv")[0] == ["two\r\nlines"]


def test_csv_line_numbers_count_lines_inside_quotes(read):
    fails(read, 'label,text\n1,"two\nlines"\n2,a,b\n', ":4: has 3 columns, but the first row has 2", "a.csv")


@pytest.mark.parametrize("row", ['1,"never closed', '1,"closed" and on'])
def test_csv_bad_quotes(read, row):
    fails(read, f"label,text\n0,fine\n{row}\n", ":3: not CSV", "a.csv")


def test_csv_fields_longer_than_the_module_s_limit(read):
    long = "word " * 50_000
    assert read(f'label,text\n1,"{long}"\n', "a.csv")[0] == [long.strip()]
    import csv

    assert csv.field_size_limit() == 131072


def test_tsv_quotes_are_characters(read):
    assert read('label\ttext\n1\t"a\n0\t""b""\n', "a.tsv")[0] == ['"a', '""b""']


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_rows_of_another_width_are_refused(read, name):
    separator = "\t" if name == "a.tsv" else ","
    rows = ["label,text", "1,a", "0,b,c"]
    fails(read, "\n".join(rows).replace(",", separator), ":3: has 3 columns, but the first row has 2", name)
    rows[2] = "only"
    fails(read, "\n".join(rows).replace(",", separator), ":3: has 1 column, but the first row has 2", name)


# ------------------------------------------------------------------------------------------------ columns, header


def test_columns_by_name_and_number(read):
    content = "id\tstars\tbody\n1\tgood\tsome text\n2\tbad\tmore\n"
    expected = (["some text", "more"], ["good", "bad"])
    assert read(content, "a.tsv", text_column="body", label_column="stars") == expected
    assert read(content, "a.tsv", text_column="body", label_column="2") == expected
    assert read(content, "a.tsv", text_column="3", label_column="2", header=True) == expected
    body = content.partition("\n")[2]
    assert read(body, "a.tsv", text_column="3", label_column="2") == expected


def test_one_named_column_of_two_is_enough(read):
    content = "v1\tv2\nham\thello\nspam\tbuy\n"
    assert read(content, "a.tsv", label_column="v1") == (["hello", "buy"], ["ham", "spam"])
    assert read(content, "a.tsv", text_column="v2") == (["hello", "buy"], ["ham", "spam"])
    assert read("phrase\tsentiment\nhello\tx\nbuy\ty\n", "a.tsv") == (["hello", "buy"], ["x", "y"])


def test_a_usual_name_that_is_repeated_is_no_header(read):
    assert read("comment\tnice\nquestion\twhy\ncomment\thow fine\n", "a.tsv") == (
        ["nice", "why", "how fine"],
        ["comment", "question", "comment"],
    )
    content = "label\tnice\nquestion\twhy\nquestion\twhat\n"
    assert read(content, "a.tsv", header=False)[1] == ["label", "question", "question"]


def test_label_is_the_column_with_fewer_values_or_with_known_labels(read):
    assert read("x y\tpos\nz\tneg\nw\tneg\n", "a.tsv")[1] == ["pos", "neg", "neg"]
    assert read("pos\tx y\n", "a.tsv", known_labels={"pos", "neg"})[1] == ["pos"]
    assert read("x y\tneg\n", "a.tsv", known_labels={"pos", "neg"})[1] == ["neg"]
    fails(read, "pos\tx\nneg\ty\n", ":1: can't tell which column is the text or label", "a.tsv")


def test_missing_columns(read):
    table = "id,stars,body\n1,good,some text\n"
    fails(read, table, ":1: can't tell which column is the text or label; it has 3 columns and no header", "a.csv")
    fails(read, table, ":1: has no column 'text'; it has columns 'id', 'stars', 'body'", "a.csv", text_column="text")
    fails(read, table, ":1: has no column '4'", "a.csv", text_column="body", label_column="4")
    fails(read, table, ":1: has no column '0'", "a.csv", text_column="body", label_column="0")
    fails(read, table, ":1: text and label are both column 2", "a.csv", text_column="stars", label_column="stars")
    fails(read, table, ":1: has no column 'body'; it has 3 columns and no header", "a.csv",
          text_column="body", label_column="2", header=False)  # fmt: skip
    fails(read, "id,text\n1,a\n", ":1: has no column 'label'", "a.csv", label_column="label")
    fails(read, "text,body,id\na,b,1\n", ":1: can't tell which column is the label; it has columns 'text'", "a.csv")
    fails(read, "text\nhello\n", ":1: has 1 column, expected at least 2", "a.csv")


def test_empty_label(read):
    fails(read, "text,label\na,x\nb, \n", ":3: has an empty label", "a.csv")
    fails(read, "__label__x a\n__label__ b\n", ":2: has an empty label")
    fails(read, '{"text": "a", "label": ""}', ":1: has an empty label")


def test_label_with_a_line_break(read):
    fails(read, 'text,label\na,"x\ny"\n', ":2: the label 'x\\ny' holds a tab or a line break", "a.csv")


# ------------------------------------------------------------------------------------------------ fastText, JSON


def test_fasttext_lines_have_one_label(read):
    fails(read, "__label__x a\nno label here\n", ":2: has no __label__, expected one")
    fails(read, "__label__x a\n__label__x __label__y b\n", ":2: has 2 __label__, expected one")
    assert read("__label__x in__label__side\n") == (["in__label__side"], ["x"])


def test_json_values(read):
    content = '{"text": "a", "label": 1}\n{"text": "b", "label": true}\n{"text": "c", "label": -0.5}\n'
    assert read(content, "a.jsonl")[1] == ["1", "true", "-0.5"]
    assert read('{"q": "a", "a": "x"}', "a.jsonl", text_column="q", label_column="a") == (["a"], ["x"])
    assert read('{"text": "\\u00e9\\n", "label": "x"}', "a.jsonl")[0] == ["é"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{'text': 1}", "not JSON"),
        ('{"text": "a", "label": "x"}}', "not JSON"),
        ('{"text": "a"', "not JSON"),
        ("[" * 100_000, "is nested too deep"),
        ('["a", "x"]', "is a JSON list, expected one object a line"),
        ('"a"', "is a JSON str, expected one object a line"),
        ('{"label": "x"}', "has no text (or sentence, review, comment, message, content); it has 'label'"),
        ('{"text": "x", "stars": 1}', "has no label (or class, category, sentiment, target); it has 'text', 'stars'"),
        ("{}", "has no text (or sentence, review, comment, message, content); it has none"),
        ('{"text": null, "label": "x"}', "the text is null, expected a string"),
        ('{"text": ["a"], "label": "x"}', 'the text is ["a"], expected a string'),
        ('{"text": "a", "label": null}', "the label is null, expected a string or a number"),
        ('{"text": "a", "label": {"x": 1}}', 'the label is {"x": 1}, expected a string or a number'),
        ('{"text": "\\ud800", "label": "x"}', "the text holds half of a surrogate pair"),
        ('{"text": "a", "label": "\\udfff"}', "the label holds half of a surrogate pair"),
        ('{"text": "a", "label": ' + "9" * 5000 + "x}", "not JSON"),
    ],
)
def test_bad_json(read, line, problem):
    fails(read, '{"text": "a", "label": "x"}\n\n' + line + "\n", f":3: {problem}", "a.jsonl")


# ------------------------------------------------------------------------------------------------- bytes and files


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.txt"])
def test_empty_file(read, content, name):
    fails(read, content, ": is empty", name)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_header_only(read, name):
    separator = "\t" if name == "a.tsv" else ","
    fails(read, f"text{separator}label\n", ": has a header but no example", name)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_wrong_encoding(read, bom):
    latin = "__label__x a\n__label__x b\n__label__x café\n".encode("latin-1")
    fails(read, bom + latin, ":3: not UTF-8 (byte 0xe9); convert it first")
    fails(read, bom + b"\xff__label__x a\n", ":1: not UTF-8 (byte 0xff)")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16(read, encoding):
    message = ": is UTF-16, expected UTF-8" if encoding == "utf-16" else ":1: holds a NUL byte"
    fails(read, "__label__x a\n".encode(encoding), message)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.txt"])
def test_nul_byte(read, name):
    fails(read, "text,label\na,x\nb\0,y\n", ":3: holds a NUL byte, expected text in UTF-8", name)


def test_format_unknown(read):
    fails(read, "just words\nmore words\n", ":1: has neither a tab, a comma, a '{' nor a __label__", "a.txt")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_examples(tmp_path / "missing.csv")
    with pytest.raises(OSError, match="directory"):
        read_examples(tmp_path)


class Stdin:
    def __init__(self, data):
        self.buffer = io.BytesIO(data)


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(b"__label__x a\n"))
    examples = read_examples("-")
    assert (examples.texts, examples.labels, examples.source) == (["a"], ["x"], "standard input")
    monkeypatch.setattr(sys, "stdin", Stdin(b"\n"))
    with pytest.raises(DataError, match="standard input: is empty"):
        read_examples("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input: is closed"):
        read_examples("-")


# ------------------------------------------------------------------------------------------------- line batches


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        (b"\xef\xbb\xbf", [""]),
        ("é\u2028è\x0b\n".encode(), ["é\u2028è\x0b"]),
    ],
)
def test_line_batches(data, lines):
    assert [line for batch in line_batches(io.BytesIO(data), "x") for line in batch] == lines


def test_line_batches_of_a_large_file():
    lines = [f"line {number} " + "é" * (number % 50) for number in range(20_000)]
    lines[7] = "long " * 100_000
    batches = list(line_batches(io.BytesIO("\n".join(lines).encode()), "x"))
    assert [line for batch in batches for line in batch] == lines
    assert all(batches)
    assert len(batches) < 100


def test_lines_are_yielded_as_they_are_written():
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as sink:
        batches = line_batches(source, "x")
        for line in ("one", "two", "é"):
            sink.write(line.encode() + b"\nhal")
            assert next(batches)[-1].endswith(line)
        waiting = threading.Thread(target=lambda: got.append(next(batches)))
        got = []
        waiting.start()
        sink.write(b"f")
        waiting.join(0.05)
        assert waiting.is_alive()  # no line has ended
        sink.write(b"\n")
        waiting.join(10)
        assert got == [["half"]]


def test_bad_line_comes_after_the_good_ones():
    batches = line_batches(io.BytesIO(b"a\nb\nc\xe9\nd\n"), "x.txt")
    assert next(batches) == ["a", "b"]
    with pytest.raises(DataError, match=r"x.txt:3: not UTF-8 \(byte 0xe9\)"):
        next(batches)

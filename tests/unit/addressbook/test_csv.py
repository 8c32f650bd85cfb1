"""Directories as CSV files."""

from __future__ import annotations

import csv
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.addressbook.csvcolumns import COLUMNS, EXPORTED, cells_of, column_of, guarded, join_cell, split_cell, unguarded
from parley.addressbook.csvfiles import BadRow, CsvFile, Row, to_csv
from parley.addressbook.entries import Entry, Kind, NumberKind, Origin, PhoneNumber, uuid_of_name
from parley.addressbook.errors import CsvError
from tests.unit.addressbook.made_up import ADA, ENTRIES, FEW, TEAM

WHO = ("address", "mail", "display_name", "given_name", "surname")


def rows(text: str | bytes) -> list[Row | BadRow]:
    return list(CsvFile(text.encode() if isinstance(text, str) else text).rows())


def entries(text: str | bytes) -> list[Entry]:
    found = rows(text)
    assert all(isinstance(row, Row) for row in found), [str(row) for row in found if isinstance(row, BadRow)]
    return [row.entry for row in found if isinstance(row, Row)]


def problems(text: str) -> list[str]:
    return [str(row) for row in rows(text) if isinstance(row, BadRow)]


def test_a_file_as_people_have_it() -> None:
    (grace,) = entries(
        "First Name,Last Name,E-Mail Address,Job Title,SIP Address,Business Phone,Mobile,Phone 2,Shoe size\r\n"
        'Grace,Hopper,grace@example.com,"Rear Admiral, retired",Grace@Example.com,+1 (555) 0100,0170 1|0170 2,12,40\r\n'
    )
    assert grace == Entry(
        uuid_of_name(Kind.USER, "grace@example.com"), Kind.USER, "sip:grace@example.com", "", "Grace", "Hopper",
        "grace@example.com", title="Rear Admiral, retired", origin=Origin("csv", "grace@example.com"),
        numbers=(
            PhoneNumber(NumberKind.WORK, "+1 (555) 0100"), PhoneNumber(NumberKind.WORK, "12"),
            PhoneNumber(NumberKind.MOBILE, "0170 1"), PhoneNumber(NumberKind.MOBILE, "0170 2"),
        ),
    )  # fmt: skip


def test_what_a_file_says_of_itself() -> None:
    file = CsvFile("\n\nAnzeigename;Telefon;Schuhgröße;\nX;1;2;\n".encode("cp1252"))
    assert (file.delimiter, file.columns, file.ignored) == (";", ["display_name", "telephone"], ["Schuhgröße"])
    (row,) = file.rows()
    assert isinstance(row, Row)
    assert (row.line, row.entry.name) == (4, "X")


@pytest.mark.parametrize(
    "data",
    [
        "Name,Mail\nÄnne,a@b\n".encode(),
        "\ufeffName,Mail\r\nÄnne,a@b".encode(),
        "\ufeffName\tMail\r\nÄnne\ta@b\r\n".encode("utf-16-le"),
        "\ufeffName;Mail\nÄnne;a@b\n".encode("utf-16-be"),
        "Name|Mail\rÄnne|a@b\r".encode("cp1252"),
        'sep=;\r\n"Name";"Mail"\r\n"Änne";"a@b"\r\n'.encode(),
        "#displayName,mail\nÄnne,a@b\n".encode(),
    ],
)
def test_encodings_and_delimiters(data: bytes) -> None:
    (found,) = entries(data)
    assert (found.display_name, found.mail, found.kind) == ("Änne", "a@b", Kind.CONTACT)


def test_the_same_row_is_the_same_entry() -> None:
    first, second = entries("address,title\nada@x.example,a\n"), entries("address,title\nSIP:Ada@x.example,b\n")
    assert first[0].id == second[0].id
    assert entries(f"id,name\n{{{ADA.id}}},x\n")[0].id == ADA.id


def test_groups() -> None:
    found = rows(
        "name,mail,members,rule,type,groups\n"
        f'Team,team@x,"ada@x;{ADA.id}|CN=Smith\\, J",,,\n'
        'Dynamic,d@x,,"title = ""a""",group,\n'
        "Ada,a@x,,,contact,Team; d@x\n"
    )
    team, dynamic, ada = (row for row in found if isinstance(row, Row))
    assert team.entry.membership is not None
    assert team.entry.membership.members == (ADA.id,)
    assert team.entry.membership.unresolved == ("ada@x", "CN=Smith\\, J")
    assert dynamic.entry.membership is not None
    assert dynamic.entry.membership.rule == 'title = "a"'
    assert ada.member_of == ("Team", "d@x")


def test_a_password_is_for_who_asks_for_it() -> None:
    (row,) = rows("address,password\nada@x.example, =s3cret \n")
    assert isinstance(row, Row)
    assert row.password == " =s3cret "
    assert "s3cret" not in repr(row)
    (bad,) = rows("address,mail,password\nada@x.example,none,s3cret\n")
    assert "s3cret" not in repr(bad)


def test_bad_rows_leave_the_others() -> None:
    text = "address,Name,E-Mail,active,id,Kind\n" + "\n".join(
        [
            "ada@x.example,Ada,,,,", ",,,,,", "b b@x,Bob,nobody,maybe,5,robot", "", '"c@x.example","multi', 'line",,,,',
            "ADA@x.example,Other,,,,", "d@x.example,Dee,,,,,too,much", "e@x.example,Eve,,,,", 'f@x.example,"F"x,,,,',
            ",,,,,group", "g@x.example,G,,,,contact",
        ]
    )  # fmt: skip
    found = rows(text)
    assert [row.entry.address_text[0] for row in found if isinstance(row, Row)] == ["a", "e", "g"]
    assert problems(text) == [
        "line 4: active: 'maybe' is neither yes nor no; write true or false; Kind: 'robot' is no kind of entry; write user, "
        "contact, group; id: '5' is no UUID; write one, or leave it empty; E-Mail: 'nobody' is no mail address; "
        "write name@domain",
        "line 6: Name: it holds control characters; remove them",
        "line 8: address: it is the same as in line 2; remove one",
        "line 9: it has 8 values for 6 columns; put values that hold the delimiter in quotes",
        "line 11: it cannot be read (',' expected after '\"'); write a quotation mark within quotes twice",
        "line 12: Name: the entry has no name; give a display name, a SIP address or a mail address",
    ]


def test_a_quotation_mark_that_is_not_closed() -> None:
    assert problems('Name,Mail\na,a@b\n"b,b@c\nc,c@d\n') == [
        "line 3: a quotation mark is not closed; nothing was read from line 3 to line 4"
    ]
    long = 'Name,Mail\n"b,b@c\n' + "c,c@d\n" * 30_000
    found = rows(long)
    assert str(found[0]) == "line 2: a value is longer than 131072 characters; a quotation mark may not be closed"
    assert all(str(row).endswith("remove one") for row in found[2:] if isinstance(row, BadRow))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty; the first row names the columns"),
        (b"sep=", "no column says who it is; the first row has to name the columns, as in " + ", ".join(WHO)),
        (b"sep=;", "the file is empty; the first row names the columns"),
        (b"\n\n", "the file is empty; the first row names the columns"),
        (b"a\0b", "the file is no text; save it as UTF-8"),
        (b"Shoe size,Title\n", "no column says who it is; the first row has to name the columns, as in " + ", ".join(WHO)),
        (b"Name,Mail,E-Mail\n", "the columns 'Mail' and 'E-Mail' both mean mail; rename one of them"),
        (b'"Name"x,Mail\n', "the first row cannot be read: ',' expected after '\"'"),
        (b"," * 300, "more than 256 columns are too many"),
        (b"Name," + b"x" * 65_536, "the first row is too long; it has to name the columns"),
        (b" " * 65_537 + b"\nName\n", "the first row is too long; it has to name the columns"),
        (b'"Name' + b"\nName" * 20_000 + b'",Mail\n', "the first row is too long; it has to name the columns"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(data: bytes, problem: str) -> None:
    with pytest.raises(CsvError) as refused:
        CsvFile(data)
    assert str(refused.value) == problem


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.addressbook.csvfiles.MAX_FILE", 3 * 1024 * 1024)
    with pytest.raises(CsvError, match="the file is larger than 3 MB; split it"):
        CsvFile(b"x" * (3 * 1024 * 1024 + 1))
    monkeypatch.setattr("parley.addressbook.csvfiles.MAX_ROWS", 2)
    with pytest.raises(CsvError, match="more than 2 rows are too many; split the file"):
        rows("name\na\nb\nc\n")
    with pytest.raises(CsvError, match="more than 2 rows are too many; split the file"):
        rows('name\n"a"x\n"b"x\n"c"x\n')
    assert len(rows('name\n"a"x\n\nb\n\n')) == 2


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("E-Mail-Adresse", None), ("e_mail", "mail"), ("DISPLAYNAME", "display_name"), ("Full Name", "display_name"),
        ("msRTCSIP-PrimaryUserAddress", "address"), ("msExchHideFromAddressLists", "hidden"), ("Mobile 2", "mobile"),
        ("Title 2", None), ("Prénom", "given_name"), ("objectGUID", "id"), ("memberOf", "member_of"), ("", None),
        ("2", None), ("Company", "company"), ("o", "company"), ("Office Phone", "telephone"), ("proxyAddresses", "proxies"),
    ],
)  # fmt: skip
def test_headers(header: str, column: str | None) -> None:
    assert column_of(header) == column


def test_every_column_is_known_by_its_own_name() -> None:
    assert [column_of(name) for name in COLUMNS] == list(COLUMNS)
    assert set(cells_of(ADA)) == set(EXPORTED)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("@x", "'@x"), ("-cmd|calc", "'-cmd|calc"), ("+x", "'+x"), ("'=x", "''=x"),
        ("+49 30 1234", "+49 30 1234"), ("-5", "-5"), ("+49 30;ext=1", "+49 30;ext=1"), ("O'Brien", "O'Brien"), ("'x", "'x"),
        ("", ""),
    ],
)  # fmt: skip
def test_cells_are_no_formulas(text: str, written: str) -> None:
    assert guarded(text) == written
    assert unguarded(written) == text


@given(st.text("'=@+-x1 \t|"))
def test_guards_there_and_back(text: str) -> None:
    assert unguarded(guarded(text)) == text


@given(st.lists(st.text("ab|;\\ ").map(str.strip).filter(bool)), st.sampled_from(["|", "|;"]))
def test_cells_with_several_values(values: list[str], separators: str) -> None:
    assert split_cell(join_cell(values, separators), separators) == values


def comparable(entry: Entry) -> Entry:
    """What of an entry is in a file: numbers by kind, and not what they are normalised to."""
    numbers = tuple(PhoneNumber(kind, number.raw) for kind in NumberKind for number in entry.numbers_of(kind))
    return replace(entry, numbers=numbers, photo=None, version=0, origin=Origin())


@FEW
@given(
    st.lists(ENTRIES, max_size=4, unique_by=(lambda entry: entry.id, lambda entry: entry.address or entry.id)),
    st.sampled_from(",;\t"),
)
def test_files_there_and_back(wanted: list[Entry], delimiter: str) -> None:
    text = "".join(to_csv(wanted, delimiter=delimiter))
    found = entries(text.encode())
    assert [comparable(entry) for entry in found] == [comparable(entry) for entry in wanted]


def test_a_file_that_is_written() -> None:
    people = {UUID(int=1): "ada@example.com"}
    text = "".join(to_csv([replace(ADA, title="=1+1"), TEAM], lambda id: people.get(id, str(id))))
    header, ada, team = csv.reader(text.splitlines())
    assert header == list(EXPORTED)
    assert dict(zip(header, ada, strict=True))["title"] == "'=1+1"
    assert (
        dict(zip(header, team, strict=True))["members"]
        == "ada@example.com|00000000-0000-0000-0000-000000000002|cn=elsewhere"
    )
    again = entries(text)
    assert again[0].title == "=1+1"
    assert again[1].membership is not None
    assert again[1].membership.unresolved == ("ada@example.com", "cn=elsewhere")

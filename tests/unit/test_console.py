"""Progress: a line now and then, an object for machines, a bar on a terminal."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest

from chipweave import cli, console, recipe
from chipweave.console import Bars, Json, LogFormat, Seldom
from chipweave.progress import EXTRA, Step


def record(step: Step | None = None, text: str = "said") -> logging.LogRecord:
    """A log record, of a step where one is given."""
    return logging.makeLogRecord(
        {"msg": str(step) if step else text, "levelname": "INFO", **({EXTRA: step} if step else {})}
    )


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_step_is_said_in_words():
    assert str(Step("weave", 3, 1200, "batches", 4096)) == "weave: 3 of 1,200 batches, 4,096 chips"
    assert str(Step("lock", 3, 0, "pages")) == "lock: 3 pages"


def test_lines_of_a_stage_come_seldom(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    seldom, said = Seldom(), []
    for n in range(1, 101):
        now[0] += 0.5
        said += [n] * seldom.filter(record(Step("weave", n, 100, "batches")))
    assert said == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]
    assert seldom.filter(record(Step("deal", 1, 9, "shards"))), "another stage begins at once"
    assert seldom.filter(record())


def test_json_holds_the_numbers():
    said = json.loads(Json().format(record(Step("weave", 3, 12, "batches", 90))))
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "info", "message": "weave: 3 of 12 batches, 90 chips", "stage": "weave", "done": 3, "total": 12,
        "unit": "batches", "chips": 90,
    }  # fmt: skip
    assert set(json.loads(Json().format(record(text='a "quoted"\nline')))) == {"time", "level", "message"}


@pytest.fixture
def drawn():
    """Bars, and what they wrote on a terminal."""
    stream = Terminal()
    bars = Bars(stream)
    yield bars, stream.getvalue
    bars.close()


def test_a_bar_shows_how_far_a_stage_is_and_ends_as_a_line(drawn):
    bars, written = drawn
    bars.emit(record(Step("weave", 1, 4, "batches", 10)))
    bars._bars.refresh()  # a timer does, ten times a second
    assert "1/4 batches" in written()
    bars.emit(record(Step("weave", 4, 4, "batches", 40)))
    assert re.search(r"weave: 4 of 4 batches, 40 chips in \d\.\d s\n$", written())
    assert written().count("\x1b[?25h") == 1, "the cursor comes back with the last bar"


def test_what_is_cut_short_gives_the_cursor_back(drawn):
    bars, written = drawn
    bars.emit(record(Step("weave", 1, 4, "batches")))
    assert "\x1b[?25l" in written()
    bars.close()
    assert "\x1b[?25h" in written()


def test_titles_from_outside_do_not_steer_the_terminal(drawn):
    bars, written = drawn
    bars.emit(record(text="a title \x1b[2J\x07 [bold]of a catalog[/bold]"))
    assert "\x1b[2J" not in written()
    assert "\x07" not in written()
    assert "[bold]of a catalog[/bold]" in written()


@pytest.mark.parametrize("error", [SystemExit(0), ZeroDivisionError()])
def test_whatever_ends_a_command_gives_the_cursor_back(error, monkeypatch, drawn):
    bars, written = drawn
    monkeypatch.setattr(console, "_handler", bars)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.gc, "freeze", lambda: None)

    def program(args, standalone_mode):
        bars.emit(record(Step("weave", 1, 4, "batches")))
        raise error

    with pytest.raises(type(error)):
        cli.main([], program=program)
    assert "\x1b[?25h" in written()


def test_warnings_of_a_check_are_log_records(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger("chipweave"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("chipweave"), "propagate", True)
    monkeypatch.setattr(recipe, "check", lambda _: ["no \x1b[2J such file"])
    console.begin(LogFormat.JSON, quiet=False)
    cli.check(recipe.builtin_recipes()["landcover"])
    out, err = capsys.readouterr()
    assert "(1 warnings)" in out
    said = json.loads(err)
    assert (said["level"], said["message"]) == ("warning", "warning: no \x1b[2J such file")
    console.begin(LogFormat.TEXT, quiet=True)
    cli.check(recipe.builtin_recipes()["landcover"])
    assert capsys.readouterr().err == "warning: no ?[2J such file\n"


@pytest.mark.parametrize("form", LogFormat)
def test_an_error_is_said_in_the_form_of_the_log(form, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger("chipweave"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("chipweave"), "propagate", True)
    console.begin(form, quiet=False)
    console.complain("error: it broke", {"error": "usage", "message": "it broke", "hint": "", "exit": 2})
    said = capsys.readouterr().err
    if form is LogFormat.JSON:
        said = json.loads(said)
        assert (said["level"], said["message"], said["error"], said["exit"]) == (
            "error",
            "it broke",
            "usage",
            2,
        )
    else:
        assert said == "error: it broke\n"


def run(monkeypatch, capsys, *args: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, in this process."""
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.gc, "freeze", lambda: None)
    monkeypatch.setattr(console, "_handler", logging.NullHandler())
    monkeypatch.setattr(logging.getLogger("chipweave"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("chipweave"), "propagate", True)
    with pytest.raises(SystemExit) as ended:
        cli.main(args)
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    "args", [("verify", "--bogus", "x"), ("wevae",), ("build", "x.yaml"), ("verify", "x", "--chips", "none")]
)
def test_a_call_that_is_wrong_is_2_in_the_form_that_was_asked_for(monkeypatch, capsys, args):
    code, out, err = run(monkeypatch, capsys, *args)
    assert (code, out) == (2, "")
    assert "Usage: " in err
    code, out, err = run(monkeypatch, capsys, *args, "--json")
    said = json.loads(out)
    assert (code, said["error"], said["exit"]) == (2, "usage", 2)
    assert said["message"] in err
    code, out, err = run(monkeypatch, capsys, "--log-format", "json", *args)
    assert (code, out, json.loads(err)["exit"]) == (2, "", 2)


@pytest.mark.parametrize("args", [("refresh", "data"), ("export", "data", "--to", "geotiff", "-o", "x")])
def test_a_command_whose_room_is_not_built_is_refused_by_name(monkeypatch, capsys, args):
    code, out, err = run(monkeypatch, capsys, *args)
    assert (code, out) == (3, "")
    assert f"{args[0]} is known, but not built yet" in err


def test_help_and_version_are_0(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version")[0] == 0
    code, out, _ = run(monkeypatch, capsys, "verify", "--help")
    assert code == 0
    assert "--completeness" in out


@pytest.mark.parametrize("name", ["recipe.yaml", "dataset", "contact-sheet.png", "world/items.json"])
def test_a_demo_writes_over_nothing_of_the_users(monkeypatch, capsys, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    code, _, err = run(monkeypatch, capsys, "demo", str(tmp_path))
    assert code == 2
    assert name in err
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [(tmp_path / name).name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("form", LogFormat)
def test_secrets_of_urls_are_not_shown(form, monkeypatch, capsys):
    """Also where a recipe has them in a place that is none for URLs."""
    monkeypatch.setattr(logging.getLogger("chipweave"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("chipweave"), "propagate", True)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    console.begin(form, quiet=False)
    said = "/a/https:/me:HUSH@host/x.tif?sv=1&sig=HUSH%3D and 's3://k:HUSH@b' a@b.org ?X-Amz-Signature=HUSH"
    logging.getLogger("chipweave").warning(said)
    logging.getLogger("of.a.library").error(said)
    console.refuse({"error": "recipe", "message": said, "hint": said, "exit": 3}, as_json=True)
    out, err = capsys.readouterr()
    assert "HUSH" not in out + err
    assert "/a/https:/host/x.tif?sv=1&sig=… and 's3://b' a@b.org" in err
    assert json.loads(out)["exit"] == 3
    if form is LogFormat.JSON:
        assert [json.loads(line)["level"] for line in err.splitlines()][-1] == "error"

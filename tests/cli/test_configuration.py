"""Options from the environment and from a file: each one, which decides, and what is said of those that are none."""

from __future__ import annotations

import json
import os

import pytest
import typer
from support import tlog
from typer.core import TyperGroup

from tlog.cli import configuration
from tlog.cli.app import app
from tlog.errors import MalformedInputError, OperatorError

ROOT = typer.main.get_command(app)


def options_of(group=ROOT, path=()):
    """Yield (path of the command, option's name, command, option) of the whole tree."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from options_of(command, (*path, name))
        else:
            for each, option in configuration._options(command):
                yield (*path, name), each, command, option


ALL = list(options_of())


def consume(command, option, defaults=None):
    context = command.context_class(command, info_name=command.name)
    context.default_map = defaults
    value, source = option.consume_value(context, {})
    return value, source.name


def nested(path, values):
    return values if not path else {path[0]: nested(path[1:], values)}


@pytest.mark.parametrize("each", ALL, ids=[" ".join((*path, name)) for path, name, _, _ in ALL])
def test_each_option_is_a_variable_and_a_line_of_the_file(each, monkeypatch, tmp_path):
    path, name, command, option = each
    monkeypatch.delenv(option.envvar, raising=False)
    assert option.envvar == configuration.variable_of(name)
    before, source = consume(command, option)
    assert source == "DEFAULT", "nothing was set, so nothing may look as if it were"
    text = json.dumps("x")
    file = tmp_path / "tlog.toml"
    file.write_text(f"[{'.'.join(path)}]\n{name} = {text}\n")
    defaults = configuration.read_configuration(file, ROOT)
    for part in path:
        defaults = defaults[part]
    assert consume(command, option, defaults) == ("x", "DEFAULT_MAP")
    file.write_text(f"{name} = {text}\n")
    for_all = configuration.read_configuration(file, ROOT)
    for part in path:
        for_all = for_all[part]
    assert for_all == defaults
    monkeypatch.setenv(option.envvar, "1")
    value, source = consume(command, option, defaults)
    assert (value, source) == (["1"] if option.multiple else "1", "ENVIRONMENT")
    assert before != value


def test_the_tree_is_looked_at_whole():
    assert {"serve", "import", "verify", "token"} <= {path[0] for path, *_ in ALL}
    assert len(ALL) > 80


def test_the_command_line_decides_then_the_environment_then_the_file(tmp_path, module_directory):
    for name in ("line", "environment", "file"):
        tlog("init", "--data", module_directory / name, "--origin", f"example.com/{name}")
    (tmp_path / "tlog.toml").write_text(f'data = "{module_directory / "file"}"\n')

    def shown(*arguments, **environment):
        done = tlog("--config", tmp_path / "tlog.toml", "keys", "show", *arguments, env={**environment})
        return done.stdout.partition("+")[0].strip()

    base = {name: value for name, value in os.environ.items() if not name.startswith("TLOG_DATA")}
    assert shown(**base) == "example.com/file"
    assert shown(**base, TLOG_DATA=str(module_directory / "environment")) == "example.com/environment"
    assert (
        shown("--data", module_directory / "line", **base, TLOG_DATA=str(module_directory / "environment"))
        == "example.com/line"
    )


BAD = {
    "prot = 1": "there is no option 'prot'; did you mean 'port'?",
    "[serv]": "there is no command 'serv'; did you mean 'serve'?",
    "[serve]\nprot = 1": "'tlog serve' has no option 'prot'; did you mean 'port'?",
    "[serve]\nlimit = 1": "'tlog serve' has no option 'limit'",
    "[import.ndjsn]": "there is no command 'ndjsn'; did you mean 'ndjson'?",
    "[": "is not TOML",
    "qqqq = 1": "there is no option 'qqqq'",
}


@pytest.mark.parametrize("text", BAD)
def test_what_the_file_cannot_mean_is_named(text, tmp_path):
    path = tmp_path / "tlog.toml"
    path.write_text(text)
    with pytest.raises(MalformedInputError) as refused:
        configuration.read_configuration(path, ROOT)
    assert BAD[text] in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_text_is_no_toml(tmp_path):
    (tmp_path / "tlog.toml").write_bytes(b"\xff")
    with pytest.raises(MalformedInputError, match="is not TOML"):
        configuration.read_configuration(tmp_path / "tlog.toml", ROOT)


def test_options_of_a_group_go_to_its_commands(tmp_path):
    path = tmp_path / "tlog.toml"
    path.write_text('data = "a"\n[import]\ndata = "b"\n[import.cloudtrail]\ndata = "c"\n')
    defaults = configuration.read_configuration(path, ROOT)
    assert (defaults["serve"]["data"], defaults["import"]["ndjson"]["data"]) == ("a", "b")
    assert defaults["import"]["cloudtrail"]["data"] == "c"


@pytest.mark.parametrize("address", ["postgresql://tlog:secret@db/audit", "host=db password=secret"])
def test_a_file_with_a_password_is_closed_to_others(address, tmp_path):
    path = tmp_path / "tlog.toml"
    path.write_text(f'database = "{address}"\n')
    path.chmod(0o644)
    with pytest.raises(OperatorError, match="holds a password and is open to other users") as refused:
        configuration.read_configuration(path, ROOT)
    assert "secret" not in str(refused.value)
    path.chmod(0o600)
    assert configuration.read_configuration(path, ROOT)["serve"]["database"] == address


@pytest.mark.parametrize(
    "address", ["postgresql://tlog@db/audit", "host=db passfile=/etc/pgpass", "postgresql:///audit"]
)
def test_a_file_without_one_may_be_open(address, tmp_path):
    path = tmp_path / "tlog.toml"
    path.write_text(f'database = "{address}"\n')
    path.chmod(0o644)
    assert configuration.read_configuration(path, ROOT)["serve"]["database"] == address


def test_a_variable_that_is_none_is_a_warning():
    environment = {"TLOG_PRT": "1", "TLOG_HOSTS": "10.0.0.1", "TLOG_PORT": "80", "TLOG_TEST_X": "", "PATH": ""}
    assert list(configuration.check_environment(ROOT, environment)) == [
        "the variable TLOG_HOSTS is none of tlog's and has no effect; did you mean 'TLOG_HOST'?",
        "the variable TLOG_PRT is none of tlog's and has no effect; did you mean 'TLOG_PORT'?",
    ]
    assert not list(configuration.check_environment(ROOT, {"TLOG_TOKEN": "x", "TLOG_CONFIG": "x", "HOME": "/"}))


def test_what_kubernetes_sets_beside_a_service_of_this_name_is_explained():
    done = tlog("keys", "show", check=False, env={"TLOG_PORT": "tcp://10.0.0.1:8080", "PATH": ""})
    assert (done.returncode, done.stdout) == (2, "")
    assert "Kubernetes sets it beside a Service" in done.stderr


def test_a_password_on_the_command_line_is_warned_of():
    done = tlog("keys", "show", "--data", "postgresql://tlog:secret@db/audit", check=False)
    assert "every user can read a password on the command line" in done.stderr.splitlines()[0]
    done = tlog("keys", "show", "--data", "postgresql://tlog@db/audit", check=False)
    assert "every user can read" not in done.stderr

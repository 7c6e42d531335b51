"""Options from elsewhere than the command line: variables of the environment, and a file.

The command line decides before the environment, the environment before the file, the file before the default. Every option
`--some-thing` of every command is the variable `TLOG_SOME_THING`, and `some-thing` in the file (docs/reference/configuration.md).
"""

from __future__ import annotations

import re
import stat
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast

from typer.core import TyperGroup, TyperOption

from tlog.errors import MalformedInputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from typer.core import TyperCommand

    Command = TyperCommand | TyperGroup

PREFIX: Final = "TLOG_"
# Variables that stand for no option.
_OTHERS: Final = frozenset(("TLOG_TOKEN", "TLOG_CONFIG", "TLOG_CLOCK_IS_RIGHT"))
_TESTING: Final = "TLOG_TEST_"
_NAMELESS: Final = frozenset(("help", "version", "config"))
_PASSWORD: Final = re.compile(r"://[^/@\s]*:[^/@\s]+@|(?:^|[\s?&])password=[^\s&]", re.IGNORECASE)


def name_variables(commands: Iterable[Command]) -> None:
    """Give each option of some commands the variable that it can be set by."""
    for command in commands:
        for name, option in _options(command):
            if option.envvar is None:
                option.envvar = variable_of(name)
                option.show_envvar = False  # one rule says them all


def variable_of(name: str) -> str:
    """Return the variable of the option `--name`."""
    return PREFIX + name.upper().replace("-", "_")


def check_environment(root: TyperGroup, environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable that looks like one of tlog's and is none.

    Such a variable is no error: Kubernetes sets some beside a service of this name, whoever starts there.

    Raises:
        MalformedInputError: it is the one for which Kubernetes sets what cannot be meant.

    """
    if re.match(r"[a-z]+://", environment.get("TLOG_PORT", "")):
        message = (
            "TLOG_PORT is an address, as Kubernetes sets it beside a Service that is named tlog: name the Service otherwise, "
            "or set 'enableServiceLinks: false' in the pod"
        )
        raise MalformedInputError(message)
    known = _OTHERS.union(variable_of(name) for command in _commands(root) for name, _ in _options(command))
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(_TESTING) and name not in known:
            yield f"the variable {name} is none of tlog's and has no effect{_nearest(name, known)}"


def shows_password(arguments: Sequence[str]) -> bool:
    """Tell whether a command line holds the password of a database, which every user of the machine can read there."""
    return any(_PASSWORD.search(each) for each in arguments)


def read_configuration(path: Path, root: TyperGroup) -> dict[str, Any]:
    """Return the defaults that a TOML file gives the commands, as the command line's library takes them.

    Raises:
        OSError: the file cannot be read.
        MalformedInputError: it is not TOML, or names an option or a command that there is not.
        OperatorError: it holds a password and is open to other users.

    """
    import tomllib

    content = path.read_bytes()
    try:
        text = content.decode()
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"{path} is not TOML: {error}"
        raise MalformedInputError(message) from None
    mode = stat.S_IMODE(path.stat().st_mode)
    if _PASSWORD.search(text) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"{path} holds a password and is open to other users (mode {mode:04o}); chmod 0600 it and change the password"
        raise OperatorError(message)
    for_all = {name: value for name, value in document.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in document.items() if isinstance(value, dict)}
    everywhere = {name for command in _commands(root) for name, _ in _options(command)}
    for name in for_all.keys() - everywhere:
        message = f"{path}: there is no option '{name}'{_nearest(name, everywhere)}"
        raise MalformedInputError(message)
    return _defaults(path, root, for_all, tables)


def _defaults(
    path: Path, group: TyperGroup, for_all: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    for name in tables.keys() - group.commands.keys():
        message = f"{path}: there is no command '{name}'{_nearest(name, group.commands)}"
        raise MalformedInputError(message)
    defaults: dict[str, Any] = {}
    for name, command in cast("Mapping[str, Command]", group.commands).items():
        table = tables.get(name, {})
        options = {key: str(option.name) for key, option in _options(command)}
        given = {**for_all, **table}
        defaults[name] = {options[key]: value for key, value in given.items() if key in options}
        if isinstance(command, TyperGroup):
            inner = {key: value for key, value in table.items() if isinstance(value, dict)}
            below = {**for_all, **{key: value for key, value in table.items() if key not in inner}}
            defaults[name] |= _defaults(path, command, below, inner)
            continue
        for key in table.keys() - options.keys():
            message = f"{path}: 'tlog {name}' has no option '{key}'{_nearest(key, options)}"
            raise MalformedInputError(message)
    return defaults


def _commands(group: TyperGroup) -> Iterator[Command]:
    for command in cast("Mapping[str, Command]", group.commands).values():
        yield command
        if isinstance(command, TyperGroup):
            yield from _commands(command)


def _options(command: Command) -> Iterator[tuple[str, TyperOption]]:
    """Yield the options of a command with the names that they are known by."""
    for each in command.params:
        if isinstance(each, TyperOption):
            name = max(each.opts, key=len).removeprefix("--")
            if name not in _NAMELESS:
                yield name, each


def _nearest(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, list(names), 1)
    return f"; did you mean '{near[0]}'?" if near else ""

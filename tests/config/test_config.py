"""Overrides, hints and JSON of configurations: typed, one line when wrong, and nothing that is typed is ever run."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laptime.config import LARGEST, RunRequest, SuitePath, flat, from_json, nearest, override, to_json
from laptime.errors import InvalidConfiguration, UnknownName, UserError


@dataclass(frozen=True)
class Optimizer:
    lr: float = 0.1
    nesterov: bool = False
    name: Literal["sgd", "lars"] = "sgd"
    betas: tuple[float, ...] = (0.9, 0.999)


@dataclass(frozen=True)
class Model:
    width: int = 64
    blocks: tuple[int, ...] = (3, 4)
    optimizer: Optimizer = field(default_factory=Optimizer)


@dataclass(frozen=True)
class Config:
    steps: int
    title: str = "plain"
    limit: int | None = None
    level: Literal[1, 2] = 1
    folder: Path = Path("a")
    model: Model = field(default_factory=Model)


CONFIG = Config(7)


def changed(text):
    """The one leaf that an override changed, as (name, value)."""
    before, after = flat(CONFIG), flat(override(CONFIG, [text]))
    ((name, value),) = [(n, v) for n, v in after.items() if v != before[n]]
    return name, value


@pytest.mark.parametrize(("text", "value"), [
    ("steps=12", 12), ("steps=-3", -3), ("title=a b=c", "a b=c"), ("title=", ""), ("limit=5", 5), ("level=2", 2),
    ("folder=/x/y", "/x/y"), ("model.width=8", 8), ("model.blocks=1,2,3", [1, 2, 3]), ("model.blocks=(5,)", [5]),
    ("model.blocks=[]", []), ("model.optimizer.lr=1e-3", 0.001), ("model.optimizer.lr=3", 3.0),
    ("model.optimizer.nesterov=on", True), ("model.optimizer.nesterov=True", True), ("model.optimizer.name=lars", "lars"),
    ("model.optimizer.betas=0.5", [0.5]), ("  steps = 12 ", 12),
])
def test_override_parses_by_the_type_of_the_field(text, value):
    name, found = changed(text)
    assert name == text.partition("=")[0].strip()
    assert (found, type(found)) == (value, type(value))


def test_override_sets_an_optional_number_back_to_none():
    assert override(dataclasses.replace(CONFIG, limit=5), ["limit=None"]).limit is None


def test_last_of_two_overrides_holds_and_the_original_is_untouched():
    assert override(CONFIG, ["steps=1", "steps=2"]).steps == 2
    assert CONFIG.steps == 7


@pytest.mark.parametrize(("text", "words"), [
    ("stps=1", "Did you mean 'steps'?"),
    ("model.widht=1", "Did you mean 'width'?"),
    ("model.optimizer.Lr=1", "Did you mean 'lr'?"),
    ("steps.more=1", "'steps' in override 'steps.more=1' has no parts"),
    ("a.b.c.d=1", "unknown setting 'a'"),
    ("=1", "unknown setting ''"),
    (".=1", "unknown setting ''"),
    ("model.=1", "unknown setting ''"),
    ("model..width=1", "unknown setting ''"),
    ("__class__=1", "unknown setting '__class__'"),
    ("__dict__.x=1", "unknown setting '__dict__'"),
])
def test_unknown_setting_is_named_with_the_nearest_one(text, words):
    with pytest.raises(UnknownName) as error:
        override(CONFIG, [text])
    assert words in str(error.value)


@pytest.mark.parametrize(("text", "words"), [
    ("steps", "expected an override like"),
    ("", "expected an override like"),
    ("model=1", "is a group; set one of its parts: width, blocks, optimizer"),
    ("steps=1.5", "expected int, found '1.5'"),
    ("steps=nan", "expected int, found 'nan'"),
    ("steps=", "expected int, found ''"),
    ("steps=1e3", "expected int"),
    ("steps=0x10", "expected int"),
    ("limit=many", "expected int or none, found 'many'"),
    ("level=3", "expected one of 1, 2, found '3'"),
    ("model.optimizer.name=adam", "expected one of sgd, lars, found 'adam'"),
    ("model.optimizer.nesterov=maybe", "expected bool"),
    ("model.blocks=1,x", "expected int, found 'x'"),
    ("model.optimizer.lr=1e999", "expected float"),
    ("model.optimizer.lr=nan", "expected float"),
    ("model.optimizer.lr=-inf", "expected float"),
    ("model.optimizer.betas=0.9,inf", "expected float, found 'inf'"),
])
def test_value_of_the_wrong_type_says_what_is_expected(text, words):
    with pytest.raises(InvalidConfiguration) as error:
        override(CONFIG, [text])
    assert words in str(error.value)


@pytest.mark.parametrize("value", [
    "__import__('os').system('touch evaluated')", "open('evaluated','w')", "${HOME}", "$(touch evaluated)", "1;2",
    "9" * 5000, "x" * 1_000_000, "1\n2", "a\nb\r\nc", "\x1b[31m\x00", "١٢x", "½", "\ud800", "{steps}", "%s%n",
])
@pytest.mark.parametrize("name", ["steps", "model.blocks", "model.optimizer.lr", "model.optimizer.nesterov", "level"])
def test_hostile_value_is_refused_in_one_short_line(tmp_path, monkeypatch, name, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidConfiguration) as error:
        override(CONFIG, [f"{name}={value}"])
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500
    assert os.listdir(tmp_path) == []


@given(st.text())
def test_any_text_is_an_override_or_a_user_error_of_one_line(text):
    try:
        said = type(override(CONFIG, [text])).__name__
    except UserError as error:
        said = str(error)
    assert len(said.splitlines()) == 1


@given(st.sampled_from(["steps", "model.width", "model.blocks", "model.optimizer.lr", "limit", "model"]), st.text())
def test_any_value_keeps_the_types_of_the_fields(name, text):
    try:
        config = override(CONFIG, [f"{name}={text}"])
    except UserError:
        return
    assert isinstance(config.steps, int)
    assert isinstance(config.model.width, int)
    assert all(isinstance(block, int) for block in config.model.blocks)
    assert math.isfinite(config.model.optimizer.lr)


whole = st.integers(-LARGEST, LARGEST)
finite = st.floats(allow_nan=False, allow_infinity=False)
configs = st.builds(
    Config, steps=whole, title=st.text(st.characters(codec="ascii", categories=["L", "N"])),
    limit=st.none() | whole, level=st.sampled_from([1, 2]),
    model=st.builds(Model, width=whole, blocks=st.lists(whole).map(tuple),
                    optimizer=st.builds(Optimizer, lr=finite, nesterov=st.booleans(), name=st.sampled_from(["sgd", "lars"]),
                                        betas=st.lists(finite).map(tuple))))


def texts(config):
    """The overrides that say everything in a configuration."""
    return [f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in flat(config).items()]


@given(configs)
def test_overrides_with_every_value_of_a_configuration_give_it_back(config):
    assert override(CONFIG, texts(config)) == config


@given(configs)
def test_json_gives_a_configuration_back(config):
    assert from_json(Config, json.loads(json.dumps(to_json(config)))) == config


def test_json_gives_a_request_back():
    request = RunRequest("resnet", out=None, data=Path("d"), overrides=("a=1", "b=2"), seed=3, suite=SuitePath(Path("s")),
                         command=("laptime", "run"), variables=("A=1",))
    assert from_json(RunRequest, json.loads(json.dumps(to_json(request)))) == request


@pytest.mark.parametrize(("data", "kind", "words"), [
    ({}, InvalidConfiguration, "expected a setting 'steps' in Config, found none"),
    ({"steps": 1, "stesp": 2}, UnknownName, "unknown setting 'stesp' in Config. Did you mean 'steps'?"),
    ({"steps": 1, "model": {"widht": 2}}, UnknownName, "in Config.model. Did you mean 'width'?"),
    ({"steps": "1"}, InvalidConfiguration, "expected int at Config.steps, found '1'"),
    ({"steps": 1.0}, InvalidConfiguration, "expected int at Config.steps"),
    ({"steps": True}, InvalidConfiguration, "expected int at Config.steps, found True"),
    ({"steps": None}, InvalidConfiguration, "expected int at Config.steps, found None"),
    ({"steps": 1, "limit": "none"}, InvalidConfiguration, "expected int or none at Config.limit"),
    ({"steps": 1, "level": 3}, InvalidConfiguration, "expected one of 1, 2 at Config.level"),
    ({"steps": 1, "level": [1]}, InvalidConfiguration, "expected one of 1, 2 at Config.level"),
    ({"steps": 1, "model": 5}, InvalidConfiguration, "expected an object at Config.model, found 5"),
    ({"steps": 1, "model": {"blocks": "123"}}, InvalidConfiguration, "at Config.model.blocks"),
    ({"steps": 1, "model": {"blocks": [1, "2"]}}, InvalidConfiguration, "expected int at Config.model.blocks"),
    ({"steps": 1, "title": "long " * 1000, "model": []}, InvalidConfiguration, "expected an object at Config.model"),
    ({"steps": 1, "model": {"optimizer": {"nesterov": 1}}}, InvalidConfiguration, "expected bool"),
    ({"steps": 1, "model": {"optimizer": {"lr": True}}}, InvalidConfiguration, "expected float"),
    ([], InvalidConfiguration, "expected an object at Config"),
    (None, InvalidConfiguration, "expected an object at Config"),
    ("x\ny" * 999, InvalidConfiguration, "expected an object at Config"),
])
def test_json_of_another_shape_is_refused_in_one_line(data, kind, words):
    with pytest.raises(kind) as error:
        from_json(Config, data)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 500


def test_json_number_too_large_for_a_float_is_refused():
    with pytest.raises(InvalidConfiguration, match="expected float"):
        from_json(Optimizer, {"lr": 10**400})


def test_json_whole_number_is_a_float_where_a_float_is_expected():
    assert isinstance(from_json(Optimizer, {"lr": 1}).lr, float)


def test_flat_names_every_leaf_once():
    assert flat(CONFIG) == {"steps": 7, "title": "plain", "limit": None, "level": 1, "folder": "a", "model.width": 64,
                            "model.blocks": [3, 4], "model.optimizer.lr": 0.1, "model.optimizer.nesterov": False,
                            "model.optimizer.name": "sgd", "model.optimizer.betas": [0.9, 0.999]}


def test_nearest_is_silent_when_nothing_is_near():
    assert nearest("zzz", ["resnet", "bert"]) == ""
    assert nearest("resnt", ["resnet", "bert"]) == " Did you mean 'resnet'?"

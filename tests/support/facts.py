"""The tables of facts extracted from the public rules: rows, and their constraints as predicates."""

import csv
import math
import re
from functools import lru_cache
from pathlib import Path

FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts" / "rules"
ABSENT = "the tables of facts (../shared/facts/rules) are not at hand"


@lru_cache
def table(name):
    if not FACTS.is_dir():
        return ()
    with (FACTS / name).open(newline="") as file:
        return tuple(csv.DictReader(file))


def facts(name, **where):
    return [row for row in table(name) if all(row[key] in values for key, values in where.items())]


def number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def near_integer(value):
    return number(value) and math.isfinite(value) and abs(value - round(value)) <= 1e-5


def listed(value, length):
    return isinstance(value, list) and len(value) == length and all(map(number, value))


EXPRESSIONS = {  # over the value and the logged values of other keys
    "v is a non-empty list": lambda v, n: isinstance(v, list) and len(v) > 0,
    "v is not the empty string": lambda v, n: v != "",
    "log2(v/0.0001) is an integer": lambda v, n: number(v) and v > 0 and near_integer(math.log2(v / 0.0001)),
    "v/0.001 is an integer": lambda v, n: number(v) and near_integer(v / 0.001),
    "v/0.02 is an integer": lambda v, n: number(v) and near_integer(v / 0.02),
    "v/1000 is an integer": lambda v, n: number(v) and near_integer(v / 1000),
    "v is a list of length 2": lambda v, n: isinstance(v, list) and len(v) == 2,
    "v is of JSON integer type": lambda v, n: isinstance(v, int) and not isinstance(v, bool),
    "v is a boolean": lambda v, n: isinstance(v, bool),
    "v is an integer": lambda v, n: near_integer(v),
    "v is an integer and v > 0": lambda v, n: near_integer(v) and v > 0,
    "v is an integer and v >= 0": lambda v, n: near_integer(v) and v >= 0,
    "v is an integer and v >= 1": lambda v, n: near_integer(v) and v >= 1,
    "v is an integer and v >= 8192": lambda v, n: near_integer(v) and v >= 8192,
    "v/0.02 is an integer; or global_batch_size < 16 and 0.02/v is an integer": lambda v, n: number(v) and (
        near_integer(v / 0.02) or (n["global_batch_size"] < 16 and v != 0 and near_integer(0.02 / v))),
    "10*(v[1]/50 - 1) is an integer": lambda v, n: listed(v, 2) and near_integer(10 * (v[1] / 50 - 1)),
    "v == (40, 50)*(1+k/10) for an integer k": lambda v, n: listed(v, 2) and near_integer(10 * (v[0] / 40 - 1))
    and abs(v[0] / 40 - v[1] / 50) < 1e-5,
    "v*1152 == global_batch_size*8e-05 (exact floating-point equality)":
        lambda v, n: number(v) and v * 1152 == n["global_batch_size"] * 8e-05,
    "v == 0.9 if global_batch_size < 32768 else any": lambda v, n: n["global_batch_size"] >= 32768 or v == 0.9,
    "(v > 0) and (metadata.method present) and (metadata.method in truncate|discard)": lambda v, n: number(v) and v > 0,
    "(v == 16) and (global_batch_size == num_prompts_per_step*v)":
        lambda v, n: v == 16 and n["global_batch_size"] == n["num_prompts_per_step"] * 16,
}
FUNCTIONS = {"ceil": math.ceil, "sqrt": math.sqrt, "abs": abs}


def predicate(text):
    """A constraint of the tables as a function of (value, names); a truth value is never a number."""
    if text in ("any", ""):
        return lambda v, n: True
    if text.startswith("="):
        return lambda v, n: _is(v, text[1:])
    if text.startswith("in "):
        return lambda v, n: any(_is(v, word) for word in text[3:].split("|"))
    words = text.removeprefix("expr ").replace(" (within 1e-5)", "")
    if words in EXPRESSIONS:
        return EXPRESSIONS[words]
    if match := re.fullmatch(r"v (>=?) ([0-9.]+)", words):
        return lambda v, n: number(v) and (v >= float(match[2]) if match[1] == ">=" else v > float(match[2]))
    assert re.fullmatch(r"(abs\()?v (-|==) [\w\s().*/+-]+( < 1e-9)?", words), words  # arithmetic of our own tables
    code = compile(words, "fact", "eval")
    return lambda v, n: number(v) and bool(eval(code, {"__builtins__": {}}, {**FUNCTIONS, **n, "v": v}))


def _is(value, word):
    if word in ("true", "false"):
        return value is (word == "true")
    try:
        wanted = float(word)
    except ValueError:
        return value == word
    return number(value) and value == wanted

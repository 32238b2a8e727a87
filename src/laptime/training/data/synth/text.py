"""Generated English articles: short encyclopedia entries about invented people, towns, rivers, companies and ships.

Every article states the facts of one entity again and again in different words, with agreement of pronouns: a reader
who knows the language guesses many words, one who remembers the article guesses more, and facts that are said once
nobody can guess. Text is a function of the key alone, made of whole numbers and tables: equal on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laptime.training.data.synth.draw import Stream

GENERATOR = "articles 1"  # name and version; another version makes other text

WOMEN = ("Anna", "Clara", "Edith", "Helen", "Ida", "Julia", "Laura", "Martha", "Nora", "Rosa", "Sarah", "Vera")
MEN = ("Albert", "Bernard", "Conrad", "David", "Edmund", "Felix", "George", "Henry", "Jacob", "Martin", "Oscar", "Paul")
SURNAME_HEADS = ("Al", "Bar", "Cor", "Dal", "Fen", "Gar", "Hol", "Kel", "Lin", "Mar", "Nor", "Pel", "Ros", "Sel", "Tal",
                 "Var", "Wes", "Yar")
SURNAME_TAILS = ("ben", "den", "dorn", "field", "gate", "ham", "land", "low", "mere", "son", "ton", "wick")
PLACE_HEADS = ("Ash", "Birch", "Clay", "Deep", "East", "Fair", "Green", "High", "Iron", "King", "Long", "Mill", "North",
               "Oak", "Red", "Salt", "Stone", "White")
PLACE_TAILS = ("bridge", "brook", "bury", "cliff", "dale", "ford", "haven", "hill", "market", "port", "water", "wood")
RIVERS = ("Aven", "Brent", "Calder", "Dorne", "Esk", "Leven", "Nith", "Orrin", "Severn", "Tarn", "Wear", "Yare")
COUNTRIES = ("Austria", "Belgium", "Denmark", "England", "Finland", "France", "Hungary", "Ireland", "Norway", "Poland",
             "Portugal", "Scotland", "Spain", "Sweden")
TRADES = ("painter", "teacher", "doctor", "writer", "builder", "singer", "lawyer", "farmer", "printer", "chemist")
WORKS = {"painter": "paintings", "teacher": "lessons", "doctor": "cures", "writer": "novels", "builder": "bridges",
         "singer": "songs", "lawyer": "speeches", "farmer": "orchards", "printer": "books", "chemist": "experiments"}
GOODS = ("glass", "paper", "wool", "steel", "leather", "soap", "rope", "bricks", "clocks", "tea")
COLOURS = ("blue", "green", "red", "white", "black", "yellow")
SEASONS = ("spring", "summer", "autumn", "winter")
SHIP_NAMES = ("Albatross", "Comet", "Dolphin", "Falcon", "Harvest", "Liberty", "Meteor", "Northern Star", "Phoenix",
              "Victory")
ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
        "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

# The first row opens the article; of the others some are taken, in any order, the second half of them being told from
# what came before.
TEMPLATES: Mapping[str, Sequence[str]] = {
    "person": (
        "{name} was a {trade} from {town} in {country}, born in {year}.",
        "{They} was born in {year} in the town of {town}, as one of {count} children.",
        "As a child {last} lived in {town}, near the river {river}.",
        "{Their} father was a {other} in {town} and wanted {last} to become a {other} too.",
        "In {later} {they} moved from {town} to {city}, where {they} worked as a {trade}.",
        "In {city} the {trade} {name} married {friend}.",
        "{They} and {friend} had {few} children, and the family lived in {city}.",
        "The {works} of {last} made {them} known in all of {country}.",
        "The town of {town} in {country} remembers {name} with a street near the river {river}.",
        "{friend} died in {city} before {them}, and {last} went back to {town}.",
        "Most {works} of the {trade} are kept in the museum of {city}.",
        "{name}, the {trade}, died in {town} in the {season} of the year {last_year}.",
        "{Their} {works} were shown in {city} in the {season} of {last_year}.",
    ),
    "town": (
        "{town} is a town in {country}, on the river {river}.",
        "The town of {town} was founded in {year} and has {count} thousand people.",
        "In {year} there were only {few} houses on the bank of the {river}.",
        "People in {town} live from {goods}, which is sold in all of {country}.",
        "The market of {town} is held every {season}, and {goods} is sold there.",
        "A {colour} bridge over the {river} leads from {town} to {city}.",
        "The road from {town} to {city} is {miles} miles long.",
        "In {later} a fire burnt the {colour} bridge, and {town} built it again.",
        "The flag of {town} is {colour}, like the old bridge over the {river}.",
        "The {trade} {name} was born in {town} in {later}.",
        "A street in {town} has the name of {name}, the {trade}.",
        "Every {season} the {river} rises, and the people of {town} wait for the market.",
        "Today {town} is the second town of {country} after {city}, and its {goods} is well known.",
    ),
    "river": (
        "The {river} is a river in {country}, and it is {miles} miles long.",
        "It begins near {town} and ends near {city}.",
        "From {town} the {river} runs {miles} miles to {city}.",
        "The largest town on the {river} is {city}, where {goods} is made.",
        "Boats carry {goods} from {city} up the river to {town}.",
        "In the {season} the water of the {river} is {colour}.",
        "In {year} the river rose and {count} houses in {town} were lost.",
        "After the water of {year} the people of {town} built {few} walls along the {river}.",
        "The {trade} {name} came to the {river} in {later} and stayed in {town}.",
        "Of the {works} of {name}, {few} are about the {river}.",
        "Every {season} people from {city} swim in the {colour} water.",
        "No other river in {country} is as long as the {river}.",
    ),
    "company": (
        "{last} and Sons is a company in {city} that makes {goods}.",
        "The company was founded in {year} by {name}, a {trade} from {town}.",
        "{name} came from {town} to {city} in {year} with {few} friends.",
        "At first {last} and Sons made {goods} for the people of {city} only.",
        "In {later} the company sold its {goods} in all of {country}.",
        "The sign of {last} and Sons is a {colour} ship.",
        "Its {goods} comes in {colour} boxes with a ship on them.",
        "{friend}, who married {name}, led the company from {later} on.",
        "Under {friend} the company had {count} workers in {city} and {few} in {town}.",
        "The {count} workers make {goods} from {season} to {season2}.",
        "In the {season} of {last_year} the company moved to {town}, where {name} was born.",
        "Today most {goods} in {country} comes from {last} and Sons.",
    ),
    "ship": (
        "The {ship} was a {colour} ship from {city} in {country}.",
        "It was built in {year} by {last} and Sons, a company in {city}.",
        "The {ship} carried {goods} from {city} to {town}.",
        "Its captain was {name}, who had been a {trade} before.",
        "Captain {last} came from {town} and sailed on the {ship} for {count} years.",
        "With {goods} on board the {ship} left {city} every {season}.",
        "In {later} the {ship} met a storm and lost {few} sailors.",
        "After the storm of {later} captain {last} painted the ship {colour} again.",
        "{friend} sailed with {name} and wrote about the storm of {later}.",
        "In the book of {friend} the {ship} is a {colour} bird on the water.",
        "The {ship} is now a museum in {town} and has {few} rooms.",
        "Visitors of the museum in {town} can see the {goods} that the ship carried.",
    ),
}
KINDS = tuple(TEMPLATES)


@dataclass(frozen=True)
class Article:
    """A title and sentences, each a line of text."""

    title: str
    sentences: tuple[str, ...]


def article(*key: int) -> Article:
    """The article of a key (two numbers at most)."""
    stream = Stream(*key)
    kind = _one(stream, KINDS)
    facts = _facts(stream)
    opening, *others = TEMPLATES[kind]
    told = _shuffled(stream, others)[:stream.integer(5, len(others))]
    lines = tuple(line.format_map(facts) for line in (opening, *told))
    titles = {"person": "name", "town": "town", "river": "river", "company": "last", "ship": "ship"}
    return Article(facts[titles[kind]], lines)


def number_in_words(number: int) -> str:
    """0 to 999 as English writes it: 42 -> "forty-two", 105 -> "one hundred and five"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens] + (f"-{ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{ONES[hundreds]} hundred" + (f" and {number_in_words(rest)}" if rest else "")


def _facts(stream: Stream) -> dict[str, str]:
    """Everything that the templates may say of one entity."""
    woman = stream.integer(0, 1) == 1
    last, trade = _surname(stream), _one(stream, TRADES)
    town = _place(stream)
    year = stream.integer(1700, 1899)
    later = year + stream.integer(18, 40)
    they, them, their = ("she", "her", "her") if woman else ("he", "him", "his")
    friend = f"{_one(stream, MEN if woman else WOMEN)} {_surname(stream)}"
    return {
        "name": f"{_one(stream, WOMEN if woman else MEN)} {last}", "last": last, "friend": friend,
        "they": they, "They": they.capitalize(), "them": them, "their": their, "Their": their.capitalize(),
        "trade": trade, "works": WORKS[trade], "other": _one(stream, TRADES, but=trade),
        "town": town, "city": _place(stream, but=town), "river": _one(stream, RIVERS),
        "country": _one(stream, COUNTRIES), "year": str(year), "later": str(later),
        "last_year": str(later + stream.integer(10, 45)), "count": number_in_words(stream.integer(11, 99)),
        "few": number_in_words(stream.integer(2, 9)), "miles": number_in_words(stream.integer(20, 220)),
        "goods": _one(stream, GOODS), "colour": _one(stream, COLOURS), "season": _one(stream, SEASONS),
        "season2": _one(stream, SEASONS), "ship": _one(stream, SHIP_NAMES),
    }


def _surname(stream: Stream) -> str:
    return _one(stream, SURNAME_HEADS) + _one(stream, SURNAME_TAILS)


def _place(stream: Stream, but: str = "") -> str:
    while (found := _one(stream, PLACE_HEADS) + _one(stream, PLACE_TAILS)) == but:
        pass
    return found


def _one(stream: Stream, choices: Sequence[str], but: str = "") -> str:
    allowed = [choice for choice in choices if choice != but]
    return allowed[stream.integer(0, len(allowed) - 1)]


def _shuffled(stream: Stream, items: Sequence[str]) -> list[str]:
    """A random order (Fisher and Yates)."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = stream.integer(0, last)
        order[last], order[other] = order[other], order[last]
    return order

"""Small stores of results, from submissions written by `trees`."""

import json

from trees import ROUND, write_result

from laptime.results.ingest import Ask, ingest

DESCRIPTION = {
    "submitter": "ACME", "division": "closed", "status": "Available on-premise", "system_name": "Box of ACME",
    "number_of_nodes": "2", "host_processors_per_node": "2", "host_processor_model_name": "CPU 1",
    "accelerators_per_node": 8, "accelerator_model_name": "Chip X", "framework": "Frame 1.0", "hw_notes": "hot",
    "sw_notes": ""}


def write_description(home, system, **changes):
    path = home / "systems" / f"{system}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(DESCRIPTION | changes))
    return path


def write_round(top):
    """Two submitters, three systems, five runs each; returns the round's folder."""
    for submitter, system, minutes, nodes in (("ACME", "big", 10, "4"), ("ACME", "box", 40, "1"), ("Other", "box", 44, "1")):
        home = write_result(top, submitter, system=system, minutes=minutes, first_seed=int(minutes) * 10)
        write_description(home, system, submitter=submitter, system_name=f"{submitter} {system}", number_of_nodes=nodes)
    return top / ROUND


def store_of(top, *paths, **ask):
    """The store of a round (or of `paths`)."""
    file = top / "results.sqlite"
    ingest(list(paths) or [write_round(top)], file, Ask(**ask), processes=1)
    return file

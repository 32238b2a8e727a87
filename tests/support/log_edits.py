"""Single edits of a list of records, in place; nothing happens where a key is not logged."""

from dataclasses import replace

MINUTE = 60_000


def places(records, key):
    return [place for place, each in enumerate(records) if each.key == key]


def without(*keys):
    def edit(records):
        records[:] = [each for each in records if each.key not in keys]
    return edit


def changed(key, value):
    def edit(records):
        for place in places(records, key)[:1]:
            records[place] = replace(records[place], value=value)
    return edit


def doubled(key, value=None):
    def edit(records):
        for place in places(records, key)[:1]:
            twin = records[place] if value is None else replace(records[place], value=value)
            records.insert(place + 1, replace(twin, time_ms=twin.time_ms + 1))
    return edit


def labelled(key, name, value):
    def edit(records):
        for place in places(records, key)[:1]:
            records[place] = replace(records[place], metadata={**records[place].metadata, name: value})
    return edit


def unlabelled(key, name):
    def edit(records):
        for place in places(records, key)[:1]:
            rest = {other: value for other, value in records[place].metadata.items() if other != name}
            records[place] = replace(records[place], metadata=rest)
    return edit


def changed_last(kind, found):
    """The last evaluation gives these values."""
    def edit(records):
        key = kind.rules.metric_key
        if key:
            for place in places(records, "eval_accuracy")[-len(found):]:
                records[place] = replace(records[place], value=found[records[place].metadata[key]])
        else:
            place = places(records, "eval_accuracy")[-1]
            value = dict(found) if len(found) > 1 else next(iter(found.values()))
            records[place] = replace(records[place], value=value)
    return edit


def after_the_run(records):
    last = [records[place] for place in places(records, "eval_accuracy")][-1]
    records.remove(last)
    records.append(replace(last, time_ms=records[-1].time_ms + 1000))


def moved(key, after):
    def edit(records):
        found, there = places(records, key), places(records, after)
        if found and there:
            line = records[found[0]]
            records.insert(there[-1] + 1, line)
            records.pop(found[0] + (found[0] > there[-1]))
    return edit


def init_takes(minutes):
    def edit(records):
        start, stop = records[places(records, "init_start")[0]].time_ms, places(records, "init_stop")[0]
        shift = start + round(minutes * MINUTE) - records[stop].time_ms
        records[stop:] = [replace(each, time_ms=each.time_ms + shift) for each in records[stop:]]
    return edit


def stamped(key, time):
    def edit(records):
        for place in places(records, key)[:1]:
            records[place] = replace(records[place], time_ms=time + 1000)
    return edit

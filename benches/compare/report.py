"""What comes out: medians, ratios and spread as Markdown and as JSON.

Owns every figure that is computed from samples, and how it is written.
"""

import json
import statistics


def ratios(table, row):
    """Per round, the row's figure over the baseline's of the same round."""
    base, own = table.rows.get(table.baseline_of(row), {}), table.rows[row]
    pairs = ((sample.get(table.primary), base.get(number, {}).get(table.primary)) for number, sample in own.items())
    return [value / other for value, other in pairs if value is not None and other]


def figure(value):
    """Three significant digits, and all those before the point."""
    if value == 0:
        return "0"
    for limit, digits in ((1000, 0), (100, 1), (1, 2), (0.01, 3)):
        if abs(value) >= limit:
            return f"{value:,.{digits}f}"
    return f"{value:.2g}"


def spread(values):
    """Median, least and most, and all of them."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def summary(table):
    """Row by row: median, least and most of every figure, and the ratios."""
    out = {}
    for row, samples in table.rows.items():
        names = dict.fromkeys(name for sample in samples.values() for name in sample)
        out[row] = {"rounds": len(samples), "figures": {}}
        for name in names:
            values = [sample[name] for sample in samples.values() if name in sample]
            out[row]["figures"][name] = spread(values)
        if found := ratios(table, row):
            out[row]["ratio"] = spread(found)
    return out


def table_markdown(table):
    """One measurement as a Markdown table, the primary figure with its spread."""
    rows = summary(table)
    names = list(dict.fromkeys(name for row in rows.values() for name in row["figures"]))
    noise = [name for name in ("steal %", "others %") if name in names]
    shown = [name for name in names if name not in (table.primary, *noise)]
    if table.primary not in names:
        lines = [f"### {table.title}", "", "No number."]
    else:
        unit = "" if table.primary.endswith(table.unit) else f", {table.unit}"
        head = [table.name, f"{table.primary}{unit}", "min to max", f"× {table.baseline}", *shown, "rounds"]
        head += [f"{name}, most" for name in noise]
        lines = [f"### {table.title}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row, found in rows.items():
        figures = found["figures"]
        main = figures.get(table.primary)
        if not main:
            continue
        ratio = f"**{found['ratio']['median']:.3f}**" if "ratio" in found else "-"
        cells = [row, figure(main["median"]), f"{figure(main['min'])} to {figure(main['max'])}", ratio]
        cells += [figure(figures[name]["median"]) if name in figures else "-" for name in shown]
        cells.append(str(found["rounds"]))
        cells += [f"{figures[name]['max']:.1f}" if name in figures else "-" for name in noise]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"* {note}" for note in table.notes)]
    lines += [f"* **DROPPED** {item['row']}, round {item['round'] + 1}: {item['reason']}" for item in table.dropped]
    return "\n".join(lines).rstrip() + "\n"


def markdown(facts, tables):
    """The whole report."""
    lines = ["# weir beside its peers", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items() if not isinstance(value, dict)]
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"* {name}:"] + [f"  * {key}: {each}" for key, each in value.items()]
    dropped = sum(len(table.dropped) for table in tables)
    lines += [
        "",
        "Medians over the rounds. Ratios are medians of the ratios of each round; below 1 is less than",
        "the baseline. Proxies ran one after another in every round, on one core; load generators and",
        "backends on the others. Everything on loopback. `steal %` and `others %`: of all these cores, what",
        "the host took away and what other programs used.",
        "",
    ]
    if dropped:
        lines += [f"**{dropped} samples were dropped** because something was not as it should be; see below.", ""]
    return "\n".join(lines) + "\n" + "\n".join(table_markdown(table) for table in tables)


def as_json(facts, tables):
    """The same with every sample."""
    listed = [
        {
            "name": table.name,
            "title": table.title,
            "unit": table.unit,
            "primary": table.primary,
            "baseline": table.baseline,
            "notes": table.notes,
            "dropped": table.dropped,
            "rows": summary(table),
        }
        for table in tables
    ]
    return json.dumps({"facts": facts, "measurements": listed}, indent=1) + "\n"

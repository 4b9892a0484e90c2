#!/usr/bin/env python3
"""plot.py RESULTS OUT: draws the points of scaling.jsonl as SVG files in OUT, one for each case.

Both axes are logarithmic; the grey line is what linear growth from the first point would be. Needs nothing but
Python."""
import collections
import json
import math
import pathlib
import statistics
import sys

TITLES = {
    "events": ("CPU seconds by events (TUMBLE, 10 k keys)", "events"),
    "keys": ("CPU seconds by keys (unwindowed COUNT, 5 M events)", "keys"),
    "overlap": ("CPU seconds by size/slide (HOP, 100 keys, 5 M events)", "windows a row is in"),
    "parallelism": ("Wall seconds by parallelism (TUMBLE, 5 M events)", "parallel tasks"),
}
W, H, PAD = 560, 320, 56


def scale(values, low, high):
    lo, hi = min(values), max(values)
    lo, hi = (lo / 1.5, hi * 1.5)
    return lambda v: low + (math.log(v) - math.log(lo)) / (math.log(hi) - math.log(lo)) * (high - low)


def draw(case, points):
    title, unit = TITLES[case]
    xs, ys = zip(*points)
    grows = case == "events"
    line = [ys[0] * (x / xs[0] if grows else xs[0] / x if case == "parallelism" else 1) for x in xs]
    x = scale(xs, PAD, W - 16)
    y = scale(list(ys) + line, H - PAD, 32)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{W}" height="{H}" font-family="sans-serif" font-size="12">']
    out.append(f'<rect width="{W}" height="{H}" fill="white"/><text x="{PAD}" y="20" font-size="14">{title}</text>')
    ideal = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, line))
    real = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    out.append(f'<polyline points="{ideal}" fill="none" stroke="#bbb" stroke-dasharray="4 3"/>')
    out.append(f'<polyline points="{real}" fill="none" stroke="#c2410c" stroke-width="2"/>')
    for a, b in points:
        out.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5" fill="#c2410c"/>')
        out.append(f'<text x="{x(a):.1f}" y="{y(b) - 8:.1f}" text-anchor="middle">{b:.2f}</text>')
        out.append(f'<text x="{x(a):.1f}" y="{H - PAD + 18}" text-anchor="middle">{a:,}</text>')
    out.append(f'<text x="{W / 2}" y="{H - 12}" text-anchor="middle">{unit}</text></svg>')
    return "\n".join(out) + "\n"


def main():
    results, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    runs = collections.defaultdict(list)
    for line in results.read_text().splitlines():
        run = json.loads(line)
        value = run["wall_s"] if run["case"] == "parallelism" else run["cpu_s"]
        runs[run["case"], run["at"]].append(value)
    for case in TITLES:
        points = sorted((at, statistics.median(values)) for (c, at), values in runs.items() if c == case)
        if points:
            (folder / f"scaling-{case}.svg").write_text(draw(case, points))


main()

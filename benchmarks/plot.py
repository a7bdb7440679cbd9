"""A small plot, as SVG: lines over the number of clients, both axes logarithmic, panels side by side."""

from __future__ import annotations

import math
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, LEGEND = 330, 240, 46, 30, 34, 22
COLOURS = ("#d03050", "#7a7a7a", "#2f7ed8", "#3a9a4a", "#b07cc6", "#e08a1e", "#0b8f8f")

Series = dict[str, dict[int, float]]  # a line's name: clients: value


def plot(panels: dict[str, Series]) -> str:
    """Panels by their titles. Lines of one name have one colour, and a place in the legend below."""
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    height = HEIGHT + LEGEND * math.ceil(len(names) / 4)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} {height}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for i, (title, series) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({i * WIDTH})">{_panel(title, series, colours)}</g>')
    for i, name in enumerate(names):
        x, y = 20 + i % 4 * WIDTH * len(panels) / 4, HEIGHT + 12 + i // 4 * LEGEND
        parts.append(f'<rect x="{x:.0f}" y="{y - 8}" width="14" height="4" fill="{colours[name]}"/>')
        parts.append(f'<text x="{x + 20:.0f}" y="{y - 2}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, series: Series, colours: dict[str, str]) -> str:
    clients = sorted({n for line in series.values() for n in line})
    values = [max(v, 1e-3) for line in series.values() for v in line.values()]
    if not values:
        return ""
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))

    def x(n: float) -> float:
        span = math.log(clients[-1] / clients[0]) or 1.0
        return LEFT + (WIDTH - LEFT - 14) * math.log(n / clients[0]) / span

    def y(v: float) -> float:
        span = math.log(high / low) or 1.0
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(max(v, 1e-3) / low) / span

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>']
    tick = low
    while tick <= high * 1.01:
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - 14}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        tick *= 10
    for n in clients:
        parts.append(f'<text x="{x(n):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{_short(n)}</text>')
    for name, line in series.items():
        points = " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in sorted(line.items()))
        width = 3 if name.startswith("flychat") else 1.5
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="{width}"/>'
        )
    return "".join(parts)


def _short(n: int) -> str:
    return f"{n // 1000}k" if n >= 1000 else str(n)

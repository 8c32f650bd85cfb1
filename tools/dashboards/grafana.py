"""Panels and dashboards as Grafana 11 reads them, laid out by themselves.

In a query ``@`` stands for the matchers of the installation that the dashboard shows: ``parley_frontend_calls{@}``. Every
panel says what it shows (title, description), in which unit, and what each line is (legend).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 39
_WIDTH: Final = 24
_MATCHERS: Final = 'job="parley",namespace=~"$namespace",release=~"$release"'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

GREEN, YELLOW, RED = "green", "yellow", "red"
Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One expression, and what its lines are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel. ``thresholds``: colours by the value that each begins at; None is the lowest."""

    kind: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    thresholds: tuple[tuple[float | None, str], ...]
    width: int
    height: int
    stacked: bool = False
    most: float | None = None
    """Upper end of the scale."""

    def as_json(self, number: int, x: int, y: int) -> Json:
        """As Grafana reads it, at a place of the grid."""
        defaults: Json = {
            "unit": self.unit,
            "min": 0,
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": begin, "color": colour} for begin, colour in self.thresholds],
            },
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
        }
        if self.most is not None:
            defaults["max"] = self.most
        if self.kind == "timeseries":
            defaults["custom"] = self._lines()
        return {
            "id": number, "type": self.kind, "title": self.title, "description": self.description,
            "datasource": _SOURCE, "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [
                {
                    "refId": chr(ord("A") + index), "datasource": _SOURCE, "editorMode": "code", "range": True,
                    "expr": query.expr.replace("@", _MATCHERS), "legendFormat": query.legend,
                }
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": self._options(),
        }  # fmt: skip

    def _lines(self) -> Json:
        """How the lines of a time series are drawn; thresholds other than the lowest are lines of their own."""
        return {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if self.stacked else 5, "showPoints": "never",
            "spanNulls": False, "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(self.thresholds) > 1 else "off"},
        }  # fmt: skip

    def _options(self) -> Json:
        if self.kind == "stat":
            return {
                "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "value_and_name",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }  # fmt: skip
        return {
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


def lines(
    title: str, description: str, unit: str, *queries: Query, thresholds: Sequence[tuple[float, str]] = (),
    width: int = 8, height: int = 8, stacked: bool = False, most: float | None = None,
) -> Panel:  # fmt: skip
    """Values over time."""
    steps = ((None, GREEN), *thresholds)
    return Panel("timeseries", title, description, unit, queries, steps, width, height, stacked, most)


def stat(
    title: str, description: str, unit: str, expr: str, *, legend: str = "", thresholds: Sequence[tuple[float, str]] = (),
    lowest: str = GREEN, width: int = 4, height: int = 4,
) -> Panel:  # fmt: skip
    """One number, or one for each value of a label. ``lowest``: the colour below all thresholds."""
    query = Query(expr, legend or title)
    return Panel("stat", title, description, unit, (query,), ((None, lowest), *thresholds), width, height)


def ratio(title: str, description: str, part: str, whole: str, *, good_from: float, fair_from: float) -> Panel:
    """A share between 0 and 1 that ought to be high; ``part`` and ``whole`` are rates."""
    steps = ((fair_from, YELLOW), (good_from, GREEN))
    return stat(title, description, "percentunit", f"({part})\n/ ({whole})", thresholds=steps, lowest=RED)


def quantiles(
    title: str, description: str, histogram: str, *, by: str = "", thresholds: Sequence[tuple[float, str]] = (),
    width: int = 8,
) -> Panel:  # fmt: skip
    """Median and tail of a histogram in seconds; ``by``: a label to tell apart, then the tail alone."""
    labels = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    rate = f"sum by ({labels}) (rate({histogram}_bucket{{@}}[$__rate_interval]))"
    shown = ((0.99, "p99"),) if by else ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
    queries = [Query(f"histogram_quantile({quantile}, {rate})", name + label) for quantile, label in shown]
    return lines(title, description, "s", *queries, thresholds=thresholds, width=width)


def rates(
    title: str, description: str, metric: str, by: str, *, matchers: str = "", unit: str = "reqps", width: int = 8,
    thresholds: Sequence[tuple[float, str]] = (), stacked: bool = False,
) -> Panel:  # fmt: skip
    """How fast a counter grows, by labels (comma-separated)."""
    selector = f"@,{matchers}" if matchers else "@"
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    query = Query(f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))", legend)
    return lines(title, description, unit, query, width=width, thresholds=thresholds, stacked=stacked)


@dataclass(frozen=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One dashboard; its file is named after ``name``."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...] = field(default=())

    def as_json(self) -> Json:
        """As Grafana reads it."""
        return {
            "uid": f"parley-{self.name}", "title": f"Parley / {self.title}", "description": self.description,
            "tags": ["parley"], "schemaVersion": SCHEMA_VERSION, "version": 1, "editable": True, "graphTooltip": 1,
            "timezone": "browser", "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "weekStart": "",
            "annotations": {"list": []}, "links": [_LINKS], "templating": {"list": _variables()},
            "panels": self._panels(),
        }  # fmt: skip

    def _panels(self) -> list[Json]:
        """The rows one below the other, and their panels from left to right."""
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            grid = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
            placed.append(
                {"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": grid, "panels": []}
            )
            x, y, tallest = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > _WIDTH:
                    x, y, tallest = 0, y + tallest, 0
                placed.append(panel.as_json(len(placed) + 1, x, y))
                x, tallest = x + panel.width, max(tallest, panel.height)
            y += tallest
        return placed


_LINKS: Final = {
    "title": "Parley", "type": "dashboards", "tags": ["parley"], "asDropdown": True, "includeVars": True, "keepTime": True,
    "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
}  # fmt: skip


def _variables() -> list[Json]:
    """Where the numbers come from, and of which installation they are; outside Kubernetes that is empty, and matches all."""
    return [
        {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1,
         "hide": 0, "multi": False, "includeAll": False, "regex": "", "options": [], "current": {}},
        _labels("namespace", "Namespace", 'label_values(parley_build_info{job="parley"}, namespace)'),
        _labels("release", "Release", 'label_values(parley_build_info{job="parley",namespace=~"$namespace"}, release)'),
    ]  # fmt: skip


def _labels(name: str, label: str, query: str) -> Json:
    return {
        "name": name, "type": "query", "label": label, "datasource": _SOURCE, "refresh": 2, "sort": 1, "hide": 0,
        "multi": True, "includeAll": True, "allValue": ".*", "regex": "", "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "definition": query, "query": {"query": query, "refId": "labels"},
    }  # fmt: skip

"""The dashboards of Grafana as compact Python; `tools/write_dashboards.py` writes the JSON that the chart brings."""

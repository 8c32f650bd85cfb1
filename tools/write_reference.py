"""Writes docs/configuration.md from the configuration models."""

from pathlib import Path

from parley.platform.config import SHORT_NAMES, describe
from parley.platform.installed import config_models

HEAD = """# Configuration

Everything has a default. A YAML file (`parley --config FILE`, or `PARLEY_CONFIG`) holds a section for each service; a
variable `PARLEY_<SECTION>_<KEY>` (keys within keys joined by two underscores) overrides the file. A secret may be given as
`<key>_file`, the path of a file that holds it. A key that nobody knows is an error at start.

```yaml
platform:
  redis: {url: "redis://valkey:6379/0", password_file: /run/secrets/redis}
frontend:
  domains: [example.com]
  advertise: sip.example.com
```

Variables with names of their own:

"""


def main() -> None:
    """Writes the file."""
    names = [f"- `{name}`: `{section}.{key}`" for name, (section, key) in SHORT_NAMES.items() if section]
    text = HEAD + "\n".join(names) + "\n\n" + describe(config_models()).strip() + "\n"
    (Path(__file__).resolve().parent.parent / "docs" / "configuration.md").write_text(text)


if __name__ == "__main__":
    main()

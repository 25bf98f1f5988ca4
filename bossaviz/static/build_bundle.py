"""Build ``vega.js``: vega and vega-lite as one JavaScript module, without Node.js and without the network.

Run ``python bossaviz/static/build_bundle.py`` after vl-convert-python brings newer libraries; ``--check``
only compares. vl-convert carries the sources of vega and vega-lite and a bundler. Its own names ``vega`` and
``vegaLite`` are ``null`` in 1.9 (the default exports of modules that have only named ones), so the snippet
imports the namespaces under the addresses by which vl-convert keeps its copies; nothing is fetched.

The module leaves one object, ``globalThis.bossavizVega = {vega, vegaLite}``: both halves must share one vega,
as changesets made by a second copy do nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

VEGA = "6.2.0"
VEGA_LITE = "6.4.1"
BUNDLE = Path(__file__).with_name("vega.js")
BANNER = f"/* vega {VEGA}, vega-lite {VEGA_LITE}; licences: VEGA-LICENSES.txt; made by build_bundle.py */\n"
_ADDRESS = "https://cdn.jsdelivr.net/npm/{name}@{version}/+esm.js"


def build() -> str:
    """Return the text of the bundle (about 0.84 MB, one to two seconds).

    Raises ``RuntimeError`` where the installed vl-convert carries another vega than ``VEGA``: then change the
    two numbers above, build, and look at the charts.
    """
    import vl_convert

    carried = vl_convert.get_vega_version()
    if carried != VEGA:
        raise RuntimeError(
            f"vl-convert-python {vl_convert.__version__} carries vega {carried}, not {VEGA}: "
            "set VEGA and VEGA_LITE in build_bundle.py to what it carries"
        )
    snippet = (
        f'import * as vg from "{_ADDRESS.format(name="vega", version=VEGA)}";'
        f'import * as vl from "{_ADDRESS.format(name="vega-lite", version=VEGA_LITE)}";'
        "globalThis.bossavizVega = {vega: vg, vegaLite: vl};"
    )
    code = vl_convert.javascript_bundle(snippet, vl_version=VEGA_LITE.rsplit(".", 1)[0])
    # the bundle is also written into HTML pages, where this would end the script element
    return BANNER + code.replace("</script", "<\\/script")


def main(arguments: list[str]) -> int:
    """Write the bundle, or with ``--check`` say whether the committed one is what would be written."""
    code = build()
    if "--check" in arguments:
        same = BUNDLE.read_text(encoding="utf-8") == code
        print("vega.js is up to date" if same else "vega.js differs: run build_bundle.py")
        return 0 if same else 1
    BUNDLE.write_text(code, encoding="utf-8", newline="\n")
    print(f"wrote {BUNDLE.name}: {len(code):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The JavaScript that ships: what it is, that it can be built again, and that it asks for nothing."""

from __future__ import annotations

import importlib.util
import re
from importlib.resources import files

import vl_convert

from bossaviz.runtime import static_text

STATIC = files("bossaviz").joinpath("static")


def builder():
    spec = importlib.util.spec_from_file_location("build_bundle", str(STATIC.joinpath("build_bundle.py")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bundle_is_what_the_builder_makes():
    build = builder()
    shipped = static_text("vega.js")
    assert shipped.startswith(build.BANNER)
    if vl_convert.__version__ == "1.9.0":  # other versions bundle the same libraries with other identifiers
        assert build.build() == shipped
    else:
        assert len(build.build()) > 500_000


def test_the_bundle_names_its_versions_and_licences():
    build = builder()
    assert vl_convert.get_vega_version() == build.VEGA
    assert build.VEGA_LITE.rsplit(".", 1)[0] in vl_convert.get_vegalite_versions()
    assert f'"{build.VEGA_LITE}"' in static_text("vega.js")
    licences = static_text("VEGA-LICENSES.txt")
    for words in ("vega-lite: Copyright", "BSD-3-Clause", "Mike Bostock", "ISC", "robust-predicates"):
        assert words in licences


def test_no_script_of_ours_holds_an_address():
    # namespaces of XML are names, and vega.js names its schema and an issue; nothing fetches them
    for name in ("loader.js", "frames.js", "live.js", "live.css", "page.html"):
        assert not re.search(r"https?://", static_text(name)), name
    hosts = set(re.findall(r"https?://([\w.]+)", static_text("vega.js")))
    assert hosts <= {"www.w3.org", "vega.github.io", "github.com"}
    assert "</script" not in static_text("vega.js") + static_text("live.js")

"""The worked examples as situations: the numbers of SENTENCES.md, from reference cases and data sets."""

from __future__ import annotations

import math
from dataclasses import replace
from math import log

from bossaviz.sentences import Labels, Situation, TermWords

CARS = Labels(
    response="fuel economy",
    unit="mpg",
    unit_name="car",
    units="cars",
    event="the manual cars",
    terms={
        "wt": TermWords(noun="weight", unit="thousand lb", step="1,000 lb of weight", step_unit="1,000 lb"),
        "hp": TermWords(noun="horsepower", step="horsepower", step_unit="horsepower"),
        "(Intercept)": TermWords(zeros="weight and horsepower are both 0"),
        "I(2*wt)": TermWords(noun="twice the weight"),
        "gear": TermWords(noun="number of gears", which="3 and 5 gears"),
    },
)
BREAKS = Labels(
    response="breaks",
    plural=True,
    count="breaks",
    units="looms",
    unit_name="loom",
    terms={
        "M-H": TermWords(level="at medium tension", reference="at high tension"),
        "H": TermWords(level="at high tension", reference="at low tension"),
        "B:M": TermWords(
            level_name="wool B", reference_name="wool A", first="at low tension", second="at medium tension"
        ),
        "B": TermWords(level="with wool B", reference="with wool A", condition="at low tension"),
    },
)
CHICKS = Labels(
    response="weight",
    unit="g",
    subject="chicks",
    verb="weigh",
    comparatives=("more", "less"),
    units="chicks",
    terms={
        "sunflower": TermWords(level="on sunflower", reference="on casein"),
        "t10:3": TermWords(step="10 days", first="on diet 1", second="on diet 3"),
    },
)
TOOTH = Labels(
    response="tooth length",
    unit="units",
    units="animals",
    terms={"VC": TermWords(noun="supplement", level="with VC", reference="with OJ")},
)
PENGUINS = Labels(
    response="body mass", unit="g", verb="weigh", mean_subject="Chinstrap penguins", units="penguins", terms={}
)
SLEEP = Labels(
    response="reaction time",
    unit="ms",
    units="measurements",
    group="subject",
    groups="subjects",
    terms={
        "Days": TermWords(step="day of deprivation", step_unit="day"),
        "(Intercept)": TermWords(zeros="days of deprivation are 0"),
    },
)
CAKE = Labels(response="the breaking angle", unit="degrees", terms={"L": TermWords(noun="temperature")})
INFERT = Labels(event="being a case", terms={"induced": TermWords(step="earlier induced abortion")})
CBPP = Labels(event="disease", terms={"4": TermWords(level="in period 4", reference="in period 1")})
SAMPLES = Labels(response="diameter", unit="mm", group="sample", groups="samples", terms={"x": TermWords(step="plate")})

# mpg ~ wt + hp
WT = Situation(term="wt", estimate=-3.87783, lower=-5.17191, upper=-2.58374, se=0.63273, p=1.1e-6, n=32)
HP = Situation(term="hp", estimate=-0.03177, lower=-0.05024, upper=-0.01330, se=0.00903, p=0.00145, n=32)
# the same, 999 draws
DRAWN = replace(
    WT, how="boot", ci_type="bca", lower=-5.3219, upper=-2.4037, se=0.7331, p=0.002, draws=999, requested=999,
    mcse_lower=0.08, mcse_upper=0.07,
)  # fmt: skip
DRAWN_HP = replace(
    HP, how="boot", ci_type="percentile", lower=None, upper=-0.02183, alternative="less", draws=999, p=0.001,
    mcse_upper=0.0004,
)  # fmt: skip
# mpg ~ wt + hp + cyl
HP3 = replace(
    HP, how="boot", estimate=-0.01804, lower=-0.0446, upper=-0.0011, se=0.0119, p=0.04, draws=999,
    mcse_lower=0.0009, mcse_upper=0.0009,
)  # fmt: skip
VC = Situation(term="VC", kind="level", estimate=-3.7, lower=-7.567, upper=0.167, se=1.932, p=0.0604, n=60)
SUNFLOWER = Situation(term="sunflower", kind="level", estimate=5.33, lower=-39.4, upper=50.1, se=22.4, p=0.81, n=71)
MEDIUM = Situation(term="M-H", kind="level", estimate=4.722, lower=-2.64, upper=12.09, se=3.67, p=0.2045, n=54)
DAYS = Situation(
    term="Days", how="boot", ci_type="percentile", estimate=10.467, se=1.54, draws=2000, p=0.001, n=180,
    scheme="parametric", lower=7.51, upper=13.62, mcse_lower=0.06, mcse_upper=0.06,
)  # fmt: skip

ROWS: dict[str, tuple[Situation, Labels]] = {
    "PA1": (WT, CARS),
    "PA2": (MEDIUM, BREAKS),
    "PA3": (SUNFLOWER, CHICKS),
    "PA4": (VC, TOOTH),
    "PA5": (replace(HP, alternative="less", lower=None, upper=-0.01643, p=0.0007), CARS),
    "PA6": (replace(WT, alternative="greater", null=-4.70, upper=math.inf, lower=-4.9529, p=0.1016), CARS),
    "PA7": (replace(WT, alternative="less", null=-4.70, upper=-2.80, lower=-math.inf, p=0.8984), CARS),
    "PA8": (replace(WT, null=-4.70, p=0.2037), CARS),
    "PA9": (Situation(kind="mean", estimate=3733.09, lower=3640.05, upper=3826.1, se=46.6, n=68), PENGUINS),
    "PA10": (
        Situation(
            term="(Intercept)", kind="intercept", estimate=251.405, lower=237.0, upper=265.81, se=6.825, p=1e-9, n=180
        ),
        SLEEP,
    ),
    "PA11": (
        Situation(
            term="(Intercept)", kind="intercept", estimate=37.227, lower=33.96, upper=40.5, se=1.599, zero_inside=False
        ),
        CARS,
    ),
    "PA12": (
        Situation(
            term="B:M", kind="levels_by_levels", estimate=21.111, lower=6.38, upper=35.84, se=7.327, p=0.00578,
            at=(-16.333, 4.778),
        ),
        BREAKS,
    ),
    "PA13": (
        Situation(
            term="t10:3", kind="slopes_by_levels", estimate=51.3, lower=24.9, upper=77.6, se=13.1, p=2e-4,
            at=(63.1, 114.2),
        ),
        CHICKS,
    ),
    "PA14": (Situation(term="L", kind="ordered", estimate=6.43, lower=4.12, upper=8.74, se=1.17, p=1e-6), CAKE),
    "PA16": (
        Situation(term="induced", scale="odds", estimate=log(3.62), lower=log(2.01), upper=log(6.56), se=0.301, p=2e-5),
        INFERT,
    ),
    "PA17": (
        Situation(
            term="4", kind="level", scale="odds", estimate=log(0.206), lower=log(0.0906), upper=log(0.468), se=0.42,
            p=2e-4,
        ),
        CBPP,
    ),
    "PA18": (
        Situation(
            term="H", kind="level", scale="rate", estimate=log(0.5954), lower=log(0.526), upper=log(0.674), se=0.064,
            p=1e-9,
        ),
        BREAKS,
    ),
    "PA19": (
        Situation(
            term="B", kind="level", scale="rate", estimate=log(0.633), lower=log(0.437), upper=log(0.918), se=0.189,
            p=0.0161, errors="HC3", se_ratio=2.36,
        ),
        BREAKS,
    ),
    "PA21": (
        Situation(
            term="wt", kind="scaled", estimate=-3.794, lower=-5.0604, upper=-2.5281, se=0.619, p=1e-6, sd_x=0.97846
        ),
        CARS,
    ),
    "PA22": (Situation(term="I(2*wt)", aliased=True), CARS),
    "PA23": (Situation(term="gear", scale="odds", estimate=40.0, se=2000.0, separated=True), CARS),
    "PB1": (DRAWN, CARS),
    "PB2": (DAYS, SLEEP),
    "PB3": (replace(DAYS, scheme="cluster", groups=18, draws=1000, lower=7.31, upper=13.33), SLEEP),
    "PB4": (DRAWN_HP, CARS),
    "PB5": (replace(DRAWN, test_asked=True, crossings=0), CARS),
    "PB6": (replace(HP3, stops=("percentile", "bca"), crosses=("basic", "normal")), CARS),
    "PB7": (replace(DRAWN, draws=20, mcse_lower=None, mcse_upper=None), CARS),
    "PB9": (
        replace(DAYS, term="x", scheme="cluster", groups=6, estimate=1.0, lower=0.5, upper=1.5, se=0.2,
                mcse_lower=0.01, mcse_upper=0.01),
        SAMPLES,
    ),
    "PB10": (Situation(term="wt", how="boot", estimate=-3.87783, se=0.63273, n=32), CARS),
    "PB11": (replace(WT, how="boot", draws=1, requested=1, value=-1.8449, lower=None, upper=None), CARS),
    "PB12": (replace(DRAWN, dot=1, value=-1.8449, distinct=21), CARS),
    "RA11": (Situation(operation="predictions", how="perm"), CARS),
    "CV9": (Situation(operation="effects", how="cv"), CARS),
    "VA14": (Situation(operation="variance", how="perm"), CARS),
    "SM2": (Situation(operation="simulate", how="boot"), CARS),
    "ST4": (
        replace(DRAWN, draws=605, failures=395, requested=1000, reason="separation"),
        CARS,
    ),
    "ST5": (
        replace(
            DRAWN, draws=0, failures=100, requested=100,
            reason="each resample lost the only herd in a level", lower=None, upper=None,
        ),
        CARS,
    ),
}  # fmt: skip
"""Situation and labels that give the worked example of a row, character by character."""

BIASED = replace(
    DRAWN, term="wt", ci_type="percentile", estimate=-3.87783, boot_mean=-3.6, lower=-5.0, upper=-2.0,
)  # fmt: skip
"""PB8 is reached for an lm; its worked example speaks of a spread, which comes with mixed models."""

PASTES = Labels(
    response="strength", units="measurements", unit_name="measurement",
    terms={"sd": TermWords(group="batch", groups="batches")},
)  # fmt: skip
SLEEP = Labels(
    response="reaction time", unit="ms", unit_name="measurement", units="measurements", group="subject",
    groups="subjects", terms={
        "cor": TermWords(group="subject", groups="subjects", first="starting level", second="slope"),
        "sd": TermWords(group="subject", groups="subjects", noun="slopes", per="per day"),
        "sigma": TermWords(group="subject", groups="subjects", noun="line"),
    },
)  # fmt: skip
SPREAD = Situation(
    operation="variance", how="boot", kind="spread", term="sd", scheme="parametric", estimate=1.287, lower=0.0,
    upper=2.63, se=0.8, draws=1000, requested=1000, n=60, groups=10, mcse_lower=0.0, mcse_upper=0.06,
)  # fmt: skip
ROWS |= {
    "VA6": (replace(SPREAD, at_zero=220), PASTES),
    "VA7": (
        replace(SPREAD, estimate=0.0),
        replace(PASTES, terms={"sd": TermWords(group="island", groups="islands")}),
    ),
    "VA8": (
        replace(SPREAD, kind="correlation", term="cor", estimate=1.0, lower=-0.2, upper=1.0, groups=45),
        replace(PASTES, terms={
            "cor": TermWords(group="replicate", groups="replicates", first="intercept", second="slope"),
        }),
    ),
}  # fmt: skip
FROM_DRAWS = {
    "VA4": (
        replace(SPREAD, kind="correlation", term="cor", estimate=0.0814, lower=-0.48, upper=0.69, se=0.3, groups=18),
        SLEEP,
    ),
    "VA9": (
        replace(SPREAD, estimate=1.771, lower=1.10, upper=3.56, se=0.6, groups=6, mcse_upper=0.02),
        replace(PASTES, unit="mm", terms={"sd": TermWords(group="sample", groups="samples")}),
    ),
}
"""Rows whose worked example has a profile interval: the same words with the interval that draws give."""

STATES: dict[str, tuple[Situation, Labels]] = {
    "ST1": (replace(DRAWN, draws=412, requested=2000, cancelled=True), CARS),
    "ST2": (replace(DRAWN_HP, draws=1998, failures=2, requested=2000, reason="no convergence"), CARS),
    "ST3": (replace(DRAWN, draws=933, failures=67, requested=1000, reason="separation"), CARS),
    "ST6": (replace(DRAWN, stale=("case resampling", "cluster resampling")), CARS),
    "ST7": (replace(ROWS["PA9"][0], n=333, n_total=344), PENGUINS),
}
"""Situations in which a state of the run joins; its first sentence is in ``main``, the rest in ``more``."""

MORE: dict[str, tuple[Situation, Labels]] = {
    "M1": (WT, CARS),
    "M2": (WT, CARS),
    "M3": (replace(DRAWN, mcse_lower=0.08), CARS),
    "M6": (DRAWN, CARS),
    "M7": (DRAWN, CARS),
    "M8": (WT, replace(CARS, terms={"wt": replace(CARS.terms["wt"], others=("horsepower",))})),
    "M9": (replace(DRAWN, stops=("percentile", "bca")), CARS),
    "M11": (replace(ROWS["PA17"][0], base=0.198), CBPP),
    "M12": (ROWS["PA19"][0], BREAKS),
    "M16": (replace(DRAWN, first_resampling=True), CARS),
    "M18": (ROWS["PA9"][0], replace(PENGUINS, origin="observational")),
    "M19": (ROWS["PA16"][0], replace(INFERT, origin="case-control")),
}
"""Situations in which an expansion appears."""

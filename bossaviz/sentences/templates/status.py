"""The status line: what happened, then what to do. The kind is i, w or r."""

TEMPLATES = {
    "S1": (
        "{k} of {n} rows lack a value in {cols} and were left out. To keep them, drop that column from "
        "the formula."
    ),
    "S2": (
        "Column \"{col}\" holds text ({example}) among numbers, so it is treated as groups. Clean it, or "
        "write `as_number({col})` before the fit."
    ),
    "S3": "\"{g}\" is a number with {k} values used as a group. Write `factor({g})` if that is meant.",
    "S4": (
        "Only {n} rows for {p} estimates: intervals are wide and rest on the model. Fewer terms, or more "
        "rows."
    ),
    "S5": (
        "{a} and {b} move together (correlation {r}), so each alone is poorly known. Compare the fit "
        "with one of them left out."
    ),
    "S6": "\"{term}\" repeats other columns and gets no estimate. Remove it, or one of {others}.",
    "S7": (
        "{x} sorts {event} perfectly, so its odds ratio has no finite value. Merge levels, drop {x}, or "
        "use `profile`."
    ),
    "S8": (
        "The spread between {groups} is estimated as 0 (boundary). Report it; a simpler random part "
        "gives the same fit."
    ),
    "S9": "A random-effect correlation is {est}, the edge of what is possible. Try `({x} || {g})`.",
    "S10": (
        "Only {k} {groups}: their spread and the degrees of freedom are uncertain. Show the profile "
        "interval; avoid the cluster scheme."
    ),
    "S11": (
        "Counts scatter {d} times as much as the Poisson model allows. Use robust errors, negative "
        "binomial, or shuffles."
    ),
    "S12": "{B} draws are few for a {level} interval. Press +1000; earlier draws stay.",
    "S13": (
        "{fail} of {B} refits gave no usable estimate ({reason}). They are left out; see the table of "
        "reasons."
    ),
    "S14": "More than 10% of refits failed ({reason}). Do not report this interval; try {better}.",
    "S15": "Stopped at {done} of {B} draws. The results shown use those; press +{rest} to go on.",
    "S16": "Settings changed; the picture shows the old ones, dimmed. Press generate.",
    "S17": (
        "Rows of one {group} are alike, and the case scheme treats them as unrelated. Choose cluster or "
        "parametric."
    ),
    "S18": (
        "{x} = {value} lies outside the data ({min} to {max}). The prediction is an extension of the "
        "line; narrow the range."
    ),
    "S19": "One coefficient of a smooth curve has no meaning by itself. Open the effects panel for {x}.",
    "S20": (
        "The fit stopped before it settled ({iter} steps). Rescale {x} (its values reach {max}), or "
        "simplify the random part."
    ),
    "S21": (
        "Row {row} alone moves {term} by {pct}%. Look at it in the data pane before you trust the "
        "estimate; do not delete it for that."
    ),
    "S22": "`perm` tests a comparison; predictions are none. Use `boot` or `asymp`, or explore a contrast.",
    "S23": "`cv` scores predictions; effects make none. Cross-validate after `fit` or `predict`.",
    "S24": (
        "Simulated responses come from the fitted model; testing them tests nothing. Use `asymp` for "
        "their summary, or the power laboratory."
    ),
    "S25": (
        "`bca` needs one grouping factor, or nested ones; {a} and {b} are crossed. Choose percentile or "
        "profile."
    ),
    "S26": (
        "A Gamma model needs values above 0; \"{y}\" has {k} at or below 0. Use gaussian with `log(y + "
        "c)`, or check the rows."
    ),
    "S27": (
        "Level \"{lev}\" of {col} was not in the data that made the fit. Use one of {known}, or "
        "`allow_new_levels=True` for a grouping factor."
    ),
    "S28": "\"{word}\" is not a column. Did you mean \"{near}\"? Columns: {first_five}.",
    "S29": (
        "Formulas may use columns, numbers, arithmetic and {functions}; \"{part}\" is something else. Make "
        "a new column first."
    ),
    "S30": "A level of {value} is outside 0.50 to 0.999. Type 0.95 for 95%.",
    "S31": "{k} folds need at least {k} {groups}; there are {have}. Choose {have} folds or leave-one-out.",
    "S32": "None of the {B} refits worked ({reason}). {remedy}",
    "S33": "\"{y}\" is the same in every row, so there is nothing to explain. Check the column or the filter.",
    "S34": (
        "A joint test asks whether several numbers are all equal, so it has no direction. Use two-sided, "
        "or test one contrast."
    ),
    "S35": "Loss of prediction has no `less` or `greater`. Leave the alternative at two-sided.",
}

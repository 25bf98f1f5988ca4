"""The state of a run, added to a sentence or put in place of its second half."""

TEMPLATES = {
    "ST1": (
        "Stopped at {done} of {B} draws; everything shown uses those {done}. Press +{rest} to finish the "
        "same run."
    ),
    "ST2": (
        "{fail} of {B} refits did not converge and {is_are} left out; this few cannot move the limits "
        "visibly."
    ),
    "ST3": (
        "{fail} of {B} refits ({pct}%) gave no usable estimate ({reason}) and are left out. The interval "
        "describes the others and may be too narrow."
    ),
    "ST4": (
        "{fail} of {B} refits ({pct}%) failed ({reason}). An interval from the rest would be misleading: "
        "use {better}."
    ),
    "ST5": "None of the {B} refits worked ({reason}), so there is no distribution to show. {remedy}",
    "ST6": "These results belong to the previous settings ({old}). Press generate to redraw them with {new}.",
    "ST7": "{k} of {n} rows lack a value in a used column and are left out of everything shown.",
}

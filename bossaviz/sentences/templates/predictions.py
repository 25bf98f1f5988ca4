"""Predictions and cross-validation."""

TEMPLATES = {
    "RA1": (
        "{At_settings}, the predicted mean {response} is {est} {unit} ({level} confidence interval "
        "{ci}). That interval is for the average of many such {units}, not for one."
    ),
    "RA2": (
        "One new {unit_name} {at_settings} would weigh about {est} {unit} ({level} prediction interval "
        "{ci}). More data would hardly narrow it: individuals differ."
    ),
    "RA3": "{At_settings}, the predicted probability of {event} is {est} ({level} confidence interval {ci}).",
    "RA4": (
        "{At_settings}, the expected count is {est}; a single new {unit_name} would show {lo} to {hi} "
        "{count} ({level} prediction interval, assuming {family} scatter)."
    ),
    "RA5": (
        "On average over {groups}, {response} {at_settings} is {est} {unit} ({level} confidence interval "
        "{ci}). A single {group} may lie far from this."
    ),
    "RA6": (
        "For {group} {g}, using that {group}'s own data, {response} {at_settings} is predicted at {est} "
        "{unit} ({level} interval about {ci} for its mean)."
    ),
    "RA7": (
        "A {group} not in the data could have a mean {at_settings} anywhere from {lo} to {hi} {unit} "
        "({level} interval around {est}): between-{group} variation is included."
    ),
    "RA8": (
        "{At_settings}, the predicted mean {response} is {est} {unit} ({level} {ci_name} interval {ci}). "
        "The model was refitted to {B} resamples of the {n} {units}."
    ),
    "RA9": (
        "{At_settings}, the predicted mean {response} is {est} {unit}, and at least {bound} (one-sided "
        "{level} limit)."
    ),
    "RA12": (
        "{At_settings}, the predicted mean {response} is {est} {unit}, and at least {bound} (one-sided "
        "{level} {ci_name} limit from {B} resamples)."
    ),
    "RA10": (
        "{x} of {value} {unit} lies outside the data ({min} to {max}). The line goes on, but no "
        "{unit_name} was seen there: treat the prediction as a guess."
    ),
    "RA11": (
        "Shuffling tests a comparison, and a prediction is not one. Use `boot` or `asymp` for its "
        "interval, or explore a contrast and permute that."
    ),
    "CV1": (
        "Predicting {response} for {units} left out of the fit, the model misses by {rmse} {unit} on "
        "average (root mean square, {k} folds); inside the fit by {train}."
    ),
    "CV2": (
        "Without {term}, predictions of left-out {units} get worse: held-out R² drops by {pre} on "
        "average ({lo} to {hi} over {k} folds)."
    ),
    "CV3": (
        "Without {term}, held-out R² drops by {pre} on average, but folds run from {lo} to {hi}. In "
        "{neg} of {k} folds leaving it out helped."
    ),
    "CV4": (
        "Leaving out {term} changes the squared error for left-out {units} by only {pct}%. That is about "
        "predicting, with these data; the term may still matter for explaining."
    ),
    "CV5": (
        "Each {unit_name} was predicted from the other {n_minus}: typical miss {rmse} {unit} (root mean "
        "square). There is no randomness in these folds."
    ),
    "CV6": (
        "Whole {groups} were left out: for {groups} never seen, predictions miss by {rmse} {unit}; for "
        "new days of known {groups}, by {rmse2}."
    ),
    "CV7": (
        "The model labels {acc}% of left-out {units} correctly; always guessing the larger group would "
        "get {base}%. Log loss is {ll}."
    ),
    "CV8": (
        "Inside the data the error falls to {train} {unit}, but for left-out {units} it grows to {test}: "
        "the curve is following noise."
    ),
    "CV9": (
        "Cross-validation scores predictions, and an effect predicts nothing by itself. Use `boot` or "
        "`asymp` here, or cross-validate the model after `fit` or `predict`."
    ),
}

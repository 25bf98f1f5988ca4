"""Text summaries of charts: what it is, and what is in it."""

TEMPLATES = {
    "C1": (
        "Scatter plot of the real data: {n} {units}, {x} ({xmin} to {xmax} {xu}) across, {y} ({ymin} to "
        "{ymax} {yu}) up. Fitted line {rises_falls} from {f1} to {f2}."
    ),
    "C2": "Strip plot of the real data: {y} for {k} groups; means {list}.",
    "C3": (
        "Simulated: resample {i}, same axes; {distinct} different {units}, the most repeated appears "
        "{max} times; its line has slope {value}."
    ),
    "C4": (
        "Dot plot of {B} simulated {quantity}s, {min} to {max}, centre {mean}, standard deviation {sd}. "
        "The estimate {est} is marked; the {level} {type} interval runs from {lo} to {hi}."
    ),
    "C5": (
        "{Kind} of {B} {stat}s from shuffled data, centred on {null}, standard deviation {sd}. Observed "
        "{obs} is marked; {c} lie in the shaded {tails}."
    ),
    "C6": "{k} horizontal intervals for the same estimate: {list}. {agree}",
    "C7": (
        "Real data with {B} simulated lines; at {x1} they span {a} to {b}, at {x2} {c} to {d}: narrowest "
        "near the middle."
    ),
    "C8": "Real data split into {k} folds of {sizes} {units}; root mean square error by fold: {list}.",
    "C9": (
        "Curve of signed root deviance (zeta) against {param}: 0 at {est}, it reaches ±{cut} at {lo} and "
        "{hi}. {straight}"
    ),
    "C10": (
        "… the left branch ends at {bound} with zeta {z}, above −{cut}, so the interval starts at "
        "{bound}."
    ),
    "C11": (
        "{k} {groups} in order of {what}, lowest {g1} ({v1}), highest {g2} ({v2}); {m} of {k} intervals "
        "lie clear of the average."
    ),
    "C12": (
        "Arrows from each {group}'s own slope to the model's: standard deviation {a} before, {b} after; "
        "the longest arrow is {g} ({from} to {to})."
    ),
    "C13": (
        "{R} horizontal intervals, {hit} over the true value {truth}, {below} entirely below, {above} "
        "above; running share {cov}%."
    ),
    "C14": (
        "Lines of the model's mean {y} against {x}, one for each {g}, with {level} bands; largest gap "
        "{gap} at {where}."
    ),
    "C15": (
        "Line with an inner band (mean, {level} confidence) {w1} wide and an outer band (one new "
        "{unit_name}, {level} prediction) {w2} wide at {x}."
    ),
    "C16": "Curve of power against n per group: {list}.",
}

// The one motion of a panel: after +1, one draw flies from the data (A) over its resample (B) to its dot (C).
//
// The numbers are on the screen before it starts, and it touches no drawing: a disc of its own lies over the panes and
// goes away. Where the reader asked for less motion nothing flies, and a ring stands around the new dot for a second.
// Stands before voice.js in one module.

const FLIGHT_MS = 450;
const RING_MS = 1000;
const PAINT_MS = 1500; // how long to wait for the dot itself

const frameOf = (pane) => Number(pane?.querySelector(".bv-chart")?.dataset.frame ?? -1);

// The middle of an element, in the panel's own pixels.
const middleOf = (panel, element) => {
  const [outer, inner] = [panel.getBoundingClientRect(), element.getBoundingClientRect()];
  return [
    inner.left + inner.width / 2 - outer.left - panel.clientLeft,
    inner.top + inner.height / 2 - outer.top - panel.clientTop,
  ];
};

const landing = (panel, draw) => {
  const pane = panel.querySelector(".bv-pane-c");
  const dots = [...pane.querySelectorAll(".dots_marks > *")];
  const dot = dots.find((el) => el.getAttribute("aria-label")?.match(/\d[\d,]*/)?.[0] === String(draw));
  return dot ?? pane.querySelector(".stem_marks > *"); // among bars: the triangle that marks it
};

const over = (panel, className, [x, y]) => {
  const mark = document.createElement("div");
  mark.className = className;
  mark.setAttribute("aria-hidden", "true");
  mark.style.transform = `translate(${x}px, ${y}px)`;
  panel.append(mark);
  return mark;
};

const moveDraw = (panel, draw) => {
  const end = landing(panel, draw);
  const [a, b] = ["a", "b"].map((letter) => panel.querySelector(`.bv-pane-${letter} .background`));
  if (!end || !a || !b || !panel.clientWidth) return;
  const there = middleOf(panel, end);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const ring = over(panel, "bv-ring", there);
    setTimeout(() => ring.remove(), RING_MS);
    return;
  }
  const path = [middleOf(panel, a), middleOf(panel, b), there];
  const disc = over(panel, "bv-flight", path[0]);
  const steps = path.map(([x, y], i) => ({ transform: `translate(${x}px, ${y}px)`, offset: [0, 0.45, 1][i] }));
  const motion = disc.animate(steps, { duration: FLIGHT_MS, easing: "ease-in-out" });
  motion.finished.catch(() => undefined).then(() => disc.remove());
};

// Wait until pane C has painted the frame that holds the draw, then move.
const flyWhenPainted = (panel, { draw, frame }) => {
  const began = performance.now();
  const look = () => {
    if (!panel.isConnected || performance.now() - began > PAINT_MS) return;
    if (frameOf(panel.querySelector(".bv-pane-c")) >= frame) moveDraw(panel, draw);
    else requestAnimationFrame(look);
  };
  look();
};

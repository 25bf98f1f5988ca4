// A live region for screen readers. The sentence on the screen changes with every frame; what is spoken waits until
// it has been still, so that a run of draws says "Drawing." and "Done", not every frame.
function render({ model, el }) {
  el.className = "bv-hidden bv-voice";
  el.setAttribute("aria-live", "polite");
  el.setAttribute("role", "status");
  let waiting = null;
  const say = () => {
    clearTimeout(waiting);
    const text = model.get("text");
    waiting = setTimeout(() => { if (el.textContent !== text) el.textContent = text; }, model.get("still_ms"));
  };
  model.on("change:text", say);
  return () => { clearTimeout(waiting); model.off("change:text", say); };
}
export default { render };

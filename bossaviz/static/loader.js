// What every chart carries (small): find the drawing code that one Runtime widget brought, once a page, and mount.

const page = (globalThis.bossavizPage ??= {});

const importText = async (text) => {
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return await import(address);
  } finally {
    URL.revokeObjectURL(address);
  }
};

const unpack = (bytes) => {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};

const within = (promise, ms) =>
  Promise.race([promise, new Promise((_, refuse) => setTimeout(() => refuse(new Error("no answer")), ms))]);

// The Runtime may be gone (closed, or a front end whose manager cannot find it): the kernel then sends this chart
// a copy of its own.
async function ownCopy(model) {
  if (!model.get("bundle").vega) {
    const answered = new Promise((done) => model.on("change:bundle", done));
    model.send({ type: "bundle" });
    await within(answered, 20000);
  }
  return model.get("bundle");
}

async function parts(model) {
  try {
    const id = model.get("runtime").replace("IPY_MODEL_", "");
    const runtime = await within(Promise.resolve(model.widget_manager.get_model(id)), 5000);
    return { vega: runtime.get("vega"), live: runtime.get("live"), css: runtime.get("css") };
  } catch {
    return await ownCopy(model);
  }
}

async function load(model) {
  const { vega, live, css } = await parts(model);
  await importText(await unpack(vega));
  const kit = globalThis.bossavizVega;
  const { mount } = await importText(live);
  const style = document.createElement("style");
  style.textContent = css;
  document.head.append(style);
  return (source, el) => mount(kit, source, el);
}

async function render({ model, el }) {
  const stamp = model.get("stamp");
  try {
    const mount = await (page[stamp] ??= load(model));
    return await mount(model, el);
  } catch (error) {
    delete page[stamp];
    console.error(error);
    el.textContent = "This chart cannot be drawn here: its drawing code is not in the page. Run the cell again.";
    el.setAttribute("role", "alert");
  }
}

export default { render };

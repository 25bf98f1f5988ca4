// The pure parts of a live chart: colours by token, rows from a message, marks by name.
// Stands before live.js in one module, and after TOKENS, the names of the colours (runtime.py).

const TOKEN = /^@([a-z][a-z0-9-]*)$/;
const TOKEN_IN_QUOTES = /(['"])@([a-z][a-z0-9-]*)\1/g;

// ---- colours: a token is a CSS variable, so a change of theme repaints without a line of JavaScript

const themed = (value) => {
  if (typeof value === "string") {
    if (!value.includes("@")) return value;
    const token = TOKEN.exec(value)?.[1];
    if (TOKENS.has(token)) return `var(--bv-${token})`;
    return value.replace(TOKEN_IN_QUOTES, (text, quote, name) =>
      TOKENS.has(name) ? `${quote}var(--bv-${name})${quote}` : text,
    );
  }
  if (Array.isArray(value)) return value.map(themed);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, themed(inner)]));
  }
  return value;
};

// Vega fills with one colour; a page-wide pattern lets a mark say fill: "url(#bv-hatch)".
const HATCH = `<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>
  <pattern id="bv-hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
  <rect width="5" height="5" style="fill:var(--bv-tail-soft)"/>
  <rect width="2" height="5" style="fill:var(--bv-tail)"/></pattern></defs></svg>`;

const ensureHatch = () => {
  if (document.getElementById("bv-hatch")) return;
  const holder = document.createElement("div");
  holder.className = "bv-defs";
  holder.innerHTML = HATCH;
  document.body.append(holder);
};

// ---- data: one Float64Array for all numeric columns, lists for the others

const rowsOf = (frame) => {
  if (!frame?.rows) return [];
  const { rows: n, numbers, buffer, lists } = frame;
  const bytes = buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
  const flat = new Float64Array(bytes);
  const names = Object.keys(lists);
  return Array.from({ length: n }, (_, i) => {
    const row = {};
    numbers.forEach((name, j) => {
      const value = flat[j * n + i];
      row[name] = Number.isFinite(value) ? value : null;
    });
    for (const name of names) row[name] = themed(lists[name][i]);
    return row;
  });
};

const plainDatum = (datum) => {
  const plain = {};
  for (const [key, value] of Object.entries(datum ?? {})) {
    if (value instanceof Date) plain[key] = +value;
    else if (typeof value === "number") plain[key] = Number.isFinite(value) ? value : null;
    else if (value === null || typeof value === "string" || typeof value === "boolean") plain[key] = value;
  }
  return plain;
};

// ---- marks

const nameOf = (mark) => (mark?.name ?? "").replace(/_marks$/, "");

// Only selectable marks answer the pointer, so that a line drawn over a dot does not swallow its click.
const markPointers = (marks, selectable) => {
  for (const mark of marks ?? []) {
    if (mark.type === "group") markPointers(mark.marks, selectable);
    else if (selectable.includes(nameOf(mark))) {
      mark.interactive = true;
      ((mark.encode ??= {}).update ??= {}).cursor = { value: "pointer" };
    } else mark.interactive = false;
  }
};

const findMark = (group, name) => {
  for (const mark of group.items ?? []) {
    if (mark.marktype === undefined) continue;
    if (nameOf(mark) === name) return mark;
    if (mark.marktype === "group") {
      for (const item of mark.items) {
        const found = findMark(item, name);
        if (found) return found;
      }
    }
  }
  return null;
};

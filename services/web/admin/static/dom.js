// Elements made of values; text is always text, never markup.
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const show = (element, ...children) => element.replaceChildren(...children);

export function say(text, bad = false) {
  const line = h("p", { class: bad ? "bad" : "" }, text);
  document.getElementById("status").append(line);
  setTimeout(() => line.remove(), bad ? 9000 : 4500);
}

export const tag = (text, kind = "") => h("span", { class: `tag ${kind}` }, text);
export const time = (ms) => (ms ? h("time", { datetime: new Date(ms).toISOString() }, new Date(ms).toLocaleString()) : "never");

export function head(title, lead, ...tools) {
  return h("div", { class: "head" }, h("div", { class: "grow" }, h("h1", {}, title), h("p", { class: "lead" }, lead)), tools);
}

// rows: arrays of cells; the first cell names the row.
export function table(caption, columns, rows, empty) {
  if (!rows.length) return h("div", { class: "card" }, h("p", { class: "empty" }, empty));
  const cell = (value, index) =>
    h(index ? "td" : "th", index ? { class: columns[index] === "Actions" ? "actions" : null } : { scope: "row" }, value);
  return h(
    "div", { class: "card table", role: "region", "aria-label": caption, tabindex: "0" },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col", class: name === "Actions" ? "actions" : null }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))),
  );
}

let numbers = 0;

export function field(label, attributes = {}, name = "input") {
  const id = `field-${++numbers}`;
  const input = h(name, { id, ...attributes });
  return { label: h("label", { for: id }, label), input };
}

// Asks in a dialog; work(values) may throw, then what it says is shown and the dialog stays.
export function ask(title, lead, fields, action, work, danger = false) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const main = h("button", { type: "submit", class: danger ? "danger" : "main" }, action);
  const id = `dialog-${++numbers}`;
  const form = h(
    "form", {}, h("h2", { id }, title), lead ? h("p", { class: "lead" }, lead) : null,
    fields.flatMap((item) => [item.label, item.input]), problem,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), main),
  );
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    main.disabled = true;
    try {
      await work(fields.map((item) => item.input.value));
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
    main.disabled = false;
  });
  document.body.append(dialog);
  dialog.showModal();
}

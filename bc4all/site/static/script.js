"use strict";
// Search, filters and sorting of tables that are whole without this script. What is shown stands in the address.

const table = document.getElementById("clients");

function makeSortable(sorted) {
  const body = sorted.tBodies[0];
  sorted.querySelectorAll("thead th:not(.plain)").forEach((head) => {
    const column = head.cellIndex;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      sorted.querySelectorAll("th[aria-sort]").forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      const keyed = rows.map((row) => [keyOf(row.cells[column]), row]);
      keyed.sort(([a], [b]) => compare(a, b) * (falls ? -1 : 1));
      body.replaceChildren(...keyed.map(([, row]) => row));
      if (sorted === table) show();
    });
  });
}

function keyOf(cell) {
  const text = cell.dataset.sort ?? cell.textContent.trim();
  if (cell.tagName === "TH" && !cell.classList.contains("n")) return text; // an id is none, though it may look like one
  const number = Number(text.replaceAll(",", ""));
  return text === "" || Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

function asked() {
  return new URLSearchParams(location.hash.slice(1));
}

function show() {
  const { state = "", q = "", by = "" } = Object.fromEntries(asked());
  const form = document.querySelector("form.search");
  if (form.elements.q.value !== q) form.elements.q.value = q;
  if (form.elements.by) form.elements.by.value = by;
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const body = table.tBodies[0];
  body.querySelectorAll("tr.group").forEach((row) => row.remove());
  let shown = 0;
  for (const row of body.rows) {
    const text = `${row.cells[0].textContent} ${row.dataset.labels ?? ""}`.toLowerCase();
    row.hidden = (state && row.dataset.state !== state) || !words.every((word) => text.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  if (by) group(body, by);
  document.getElementById("shown").textContent = shown.toLocaleString("en");
  document.querySelectorAll(".count").forEach((count) => {
    if (count.getAttribute("href") === `#state=${state}`) count.setAttribute("aria-current", "true");
    else count.removeAttribute("aria-current");
  });
}

function group(body, name) {
  const groups = new Map();
  for (const row of [...body.rows]) {
    const label = (row.dataset.labels ?? "").split("\n").find((one) => one.startsWith(`${name}: `)) ?? `${name}: –`;
    if (!groups.has(label)) groups.set(label, []);
    groups.get(label).push(row);
  }
  for (const label of [...groups.keys()].sort()) {
    const rows = groups.get(label);
    const head = body.insertRow();
    head.className = "group";
    const cell = document.createElement("th");
    cell.colSpan = table.tHead.rows[0].cells.length;
    cell.scope = "rowgroup";
    cell.textContent = `${label} (${rows.filter((row) => !row.hidden).length})`;
    head.append(cell);
    body.append(...rows);
  }
}

function begin() {
  const form = document.querySelector("form.search");
  form.hidden = false;
  const change = () => {
    const wanted = asked();
    for (const name of ["q", "by"]) {
      const value = form.elements[name]?.value ?? "";
      if (value) wanted.set(name, value);
      else wanted.delete(name);
    }
    history.replaceState(null, "", `#${wanted}`);
    show();
  };
  form.addEventListener("input", change);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    history.replaceState(null, "", "#");
    setTimeout(show);
  });
  addEventListener("hashchange", show);
  show();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
if (table) begin();

// A client's products: their file assigns to globalThis.bc4allProducts, and is loaded when somebody searches.
const browse = document.getElementById("browse");
const MOST_MATCHES = 50;
let products; // the promise of them: one file, however quickly somebody types

function loadProducts() {
  products ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = browse.dataset.products;
    script.addEventListener("load", () => resolve(globalThis.bc4allProducts));
    script.addEventListener("error", () => {
      products = undefined;
      reject(new Error(script.src));
    });
    document.head.append(script);
  });
  return products;
}

function bar(share) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  svg.setAttribute("class", "bar");
  svg.setAttribute("width", "60");
  svg.setAttribute("aria-hidden", "true");
  rect.setAttribute("width", String(60 * share));
  for (const one of [svg, rect]) one.setAttribute("height", "10");
  svg.append(rect);
  return svg;
}

function productRow([id, ...answers], labels) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = id;
  const list = document.createElement("ol");
  list.className = "answers";
  for (let place = 0; place < answers.length; place += 2) {
    const item = document.createElement("li");
    const score = answers[place + 1] / 1000;
    item.append(bar(score), ` ${score.toFixed(2)} ${labels[answers[place]]}`);
    list.append(item);
  }
  row.append(head);
  row.insertCell().append(list);
  return row;
}

async function search() {
  const status = document.getElementById("matches");
  status.textContent = "loading …";
  try {
    const loaded = await loadProducts();
    const words = browse.elements.product.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = loaded.products.filter((product) => {
      const text = `${product[0]} ${loaded.labels[product[1]]}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const rows = matches.slice(0, MOST_MATCHES).map((product) => productRow(product, loaded.labels));
    document.getElementById("products-shown").replaceChildren(...rows);
    const match = `${matches.length.toLocaleString("en")} of ${loaded.products.length.toLocaleString("en")} products match`;
    status.textContent = matches.length > rows.length ? `${match}; the first ${rows.length} are shown` : match;
  } catch {
    status.textContent = `${browse.dataset.products} cannot be loaded: it belongs beside this page`;
  }
}

if (browse) {
  browse.hidden = false;
  let pause = 0;
  browse.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  browse.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(search, 200);
  });
}

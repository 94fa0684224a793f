"use strict";
// Sorts tables and runs the gallery. Text from files goes into the page as text only, never as markup.
const byId = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

(() => {
  const FIRST = 24, MORE = 96;  // images shown at once, so that the page opens fast, and with each click on "more"
  const NOTHING = "none of the classes";
  const percent = (share) => (100 * share).toFixed(1);
  // Sign 1 is ascending. What has no number comes last, in the order of its text.
  const compare = (number, text, sign) => (left, right) => {
    const [one, other] = [number(left), number(right)];
    if (one !== null && other !== null) return sign * (one - other);
    return (one === null) - (other === null) || sign * text(left).localeCompare(text(right));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, head.textContent);
      head.replaceChildren(button);
      button.onclick = () => {
        const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
        const value = (row) => ("value" in row.cells[column].dataset ? Number(row.cells[column].dataset.value) : null);
        const rows = [...table.tBodies[0].rows];
        table.tBodies[0].append(...rows.sort(compare(value, (row) => row.cells[column].textContent, sign)));
      };
    });
  }

  if (!byId("gallery-data")) return;
  const items = JSON.parse(byId("gallery-data").textContent);
  let limit = FIRST;
  let shown = [];  // what the grid shows, in order; the viewer's arrows go through it
  let position = 0;

  const chosen = (id) => (byId(id) ? byId(id).value : "");
  const layerOf = (item) => item.layers.find((layer) => layer.name === chosen("layer"));
  // The score is that of the layer that is shown, or else of the last one that has a score.
  const scored = (item) => {
    const layer = layerOf(item);
    return layer && layer.score !== null ? layer : item.layers.findLast((other) => other.score !== null);
  };
  const scoreOf = (item) => {
    const layer = scored(item);
    if (!layer) return null;
    return chosen("class") ? layer.by_class[chosen("class")] ?? null : layer.score;
  };

  function stack(item, layer, named) {
    const box = make("span", { className: "stack" });
    box.style.aspectRatio = `${item.size[1]} / ${item.size[0]}`;
    const add = (src, className, alt) => {
      box.append(make("img", { className, alt, decoding: "async", loading: "lazy", src }));
    };
    if (!layer || layer.over) add(item.uri, "", layer ? "" : item.title);
    if (layer) add(layer.uri, layer.over ? "over" : "", `${layer.name} of ${item.title}`);
    for (const [text, x, y] of named && layer ? layer.names : []) {
      const name = make("span", { className: "on-mask" }, text);
      name.style.left = `${100 * x}%`;
      name.style.top = `${100 * y}%`;
      name.style.transform = `translate(${-100 * x}%, ${-100 * y}%)`;  // a name at the rim stays inside
      box.append(name);
    }
    return box;
  }

  function legend(layer) {
    return make("ul", {}, ...layer.legend.map(([name, colour, detail]) => {
      const swatch = make("span", { className: colour.startsWith("#") ? "swatch" : "swatch ramp" });
      swatch.style.background = colour;
      return make("li", {}, swatch, make("span", {}, name), make("span", { className: "detail" }, detail));
    }));
  }

  const links = (item) => item.links.map(([text, href]) => make("a", { href, download: "" }, text));

  function card(item, index) {
    const layer = layerOf(item);
    const button = make("button", { type: "button", ariaLabel: `open ${item.title}` }, stack(item, layer, false));
    button.onclick = () => {
      position = index;
      view();
      byId("viewer").showModal();
    };
    const text = make("div", { className: "text" }, make("span", { className: "name" }, item.title));
    if (scoreOf(item) !== null) {
      const what = chosen("class") ? `IoU of ${chosen("class")}` : "mIoU";
      const of = scored(item) === layer ? "" : ` (${scored(item).name})`;
      text.append(make("span", { className: "faint score" }, `${what} ${percent(scoreOf(item))}${of}`));
    }
    if (layer && layer.legend.length) text.append(legend(layer));
    if (!item.classes.length) text.append(make("p", { className: "faint" }, NOTHING));
    if (item.links.length) text.append(make("div", { className: "links" }, ...links(item)));
    return make("article", { className: "card" }, button, text);
  }

  function draw() {
    shown = items.filter((item) => !chosen("class") || item.classes.includes(chosen("class")));
    if (chosen("order")) shown.sort(compare(scoreOf, (item) => item.title, Number(chosen("order"))));
    byId("grid").replaceChildren(...shown.slice(0, limit).map(card));
    byId("count").textContent = `${shown.length === items.length ? "" : `${shown.length} of `}${items.length} images`;
    byId("more").hidden = shown.length <= limit;
    byId("more").textContent = `Show ${Math.min(MORE, shown.length - limit)} more`;
  }

  function figure(item, name, layer) {
    const button = make("button", { type: "button", ariaLabel: `${name}: larger or smaller`, ariaPressed: "false" });
    button.append(stack(item, layer, true));
    const score = layer && layer.score !== null ? `, mIoU ${percent(layer.score)}` : "";
    const caption = make("figcaption", {}, name + score);
    if (layer) caption.append(legend(layer));
    const box = make("figure", {}, button, caption);
    box.style.setProperty("--shape", item.size[1] / item.size[0]);
    button.onclick = () => { button.ariaPressed = String(box.classList.toggle("large")); };
    return box;
  }

  function scores(item) {
    const layers = item.layers.filter((layer) => layer.score !== null);
    const names = [...new Set(layers.flatMap((layer) => Object.keys(layer.by_class)))];
    const row = (tag, texts) => make("tr", {}, ...texts.map((text, column) => make(column ? tag : "th", {}, text)));
    const value = (layer, name) => (name in layer.by_class ? percent(layer.by_class[name]) : "–");
    const head = make("thead", {}, row("th", ["IoU", ...layers.map((layer) => layer.name)]));
    const rows = names.map((name) => row("td", [name, ...layers.map((layer) => value(layer, name))]));
    return names.length ? [make("table", {}, head, make("tbody", {}, ...rows))] : [];
  }

  function view() {
    const item = shown[position];
    byId("viewer-title").textContent = `${item.title} (${position + 1} of ${shown.length})`;
    byId("viewer-note").textContent = item.classes.join(", ") || NOTHING;
    const layers = item.layers.map((layer) => figure(item, layer.name, layer));
    byId("layers").replaceChildren(figure(item, "image"), ...layers);
    byId("viewer-table").replaceChildren(...scores(item));
    byId("viewer-links").replaceChildren(...links(item));
    byId("viewer").scrollTop = 0;
  }

  function step(by) {
    position = (position + by + shown.length) % shown.length;
    view();
  }

  for (const select of document.querySelectorAll(".bar select")) {
    select.onchange = () => { limit = FIRST; draw(); };
  }
  byId("bar").onsubmit = (event) => event.preventDefault();
  byId("more").onclick = () => { limit += MORE; draw(); };
  const sliders = [...document.querySelectorAll("input.opacity")];
  sliders.forEach((slider) => {
    slider.oninput = () => {
      document.documentElement.style.setProperty("--opacity", slider.value / 100);
      sliders.forEach((other) => { other.value = slider.value; });
    };
  });
  byId("previous").onclick = () => step(-1);
  byId("next").onclick = () => step(1);
  byId("close").onclick = () => byId("viewer").close();
  byId("viewer").onclick = (event) => { if (event.target === byId("viewer")) byId("viewer").close(); };
  byId("viewer").onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.target.type !== "range") step(by);
  };
  draw();
})();

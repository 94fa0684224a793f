"use strict";
// Sorts tables and runs the gallery. Text from files goes into the page as text only, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const percent = (share) => (100 * share).toFixed(1);

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => row.cells[column].dataset.value;
        const text = (row) => row.cells[column].textContent;
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          const [left, right] = [value(a), value(b)];
          if (left === undefined || right === undefined) {
            if (left !== right) return left === undefined ? 1 : -1;
            return text(a).localeCompare(text(b)) * (up ? -1 : 1);
          }
          return (left - right) * (up ? 1 : -1);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  const source = byId("gallery-data");
  if (!source) return;
  const { items, layers } = JSON.parse(source.textContent);
  const FIRST = 24;  // images shown at once, so that the page opens fast
  const MORE = 96;   // and with each wish for more
  let limit = FIRST;
  let shown = [];   // what the grid shows, in order
  let walked = [];  // what the arrows of the viewer walk through
  let position = 0;

  const chosen = (id) => (byId(id) ? byId(id).value : "");
  const layerOf = (item, name) => item.layers.find((layer) => layer.name === name);
  const measured = (item) => {
    // The figure is that of the layer that is looked at, or else of the last one that was measured.
    const layer = layerOf(item, chosen("layer"));
    if (layer && layer.score !== null) return layer;
    return item.layers.findLast((other) => other.score !== null);
  };
  const scoreOf = (item, className) => {
    const layer = measured(item);
    if (!layer) return null;
    return className ? layer.by[className] ?? null : layer.score;
  };

  function stack(item, layer, named) {
    const box = make("span", "stack");
    box.style.aspectRatio = `${item.w} / ${item.h}`;
    const add = (uri, className, alternative) => {
      const image = make("img", className);
      image.alt = alternative;
      image.decoding = "async";
      image.loading = "lazy";
      image.src = uri;
      box.append(image);
    };
    if (item.uri && (!layer || layer.over)) add(item.uri, "", layer ? "" : item.title);
    if (layer) add(layer.uri, layer.over ? "over" : "", `${layer.name} of ${item.title}`);
    if (!item.uri && !layer) box.append(make("span", "missing", "no image"));
    if (layer && named) {
      for (const [name, x, y] of layer.places) {
        const place = make("span", "place", name);
        place.style.left = `${x}%`;
        place.style.top = `${y}%`;
        place.style.transform = `translate(-${x}%, -${y}%)`;  // a name at the rim stays inside
        box.append(place);
      }
    }
    return box;
  }

  function swatch(colour) {
    const box = make("span", "swatch");
    box.style.background = colour;
    return box;
  }

  function legend(layer) {
    const list = make("ul");
    if (layer.ramp) {
      const line = make("li");
      line.append("0", make("span", "ramp"), "1");
      list.append(line);
    }
    for (const [name, colour] of layer.swatches) {
      const line = make("li");
      line.append(swatch(colour), make("span", "", name));
      list.append(line);
    }
    return list;
  }

  function downloads(item, parent) {
    for (const [text, href] of item.links) {
      const link = make("a", "", text);
      link.href = href;
      link.download = "";
      parent.append(link);
    }
  }

  function card(item, list, place, layerName) {
    const box = make("article", "card");
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-label", `open ${item.title}`);
    const layer = layerOf(item, layerName);
    button.append(stack(item, layer, false));
    button.addEventListener("click", () => open(list, place));
    const text = make("div", "text");
    text.append(make("span", "name", item.title));
    const score = scoreOf(item, chosen("class"));
    const figure = measured(item);
    if (score !== null) {
      const of = chosen("class") ? `IoU of ${chosen("class")}` : "mIoU";
      text.append(make("span", "faint score", `${of} ${percent(score)} (${figure.name})`));
    }
    if (item.details.length) {
      const list_ = make("ul");
      for (const [name, colour, detail] of item.details) {
        const line = make("li");
        line.append(swatch(colour), make("span", "", name), make("span", "detail", detail));
        list_.append(line);
      }
      text.append(list_);
    } else if (layer && layer.swatches.length) {
      const list_ = make("ul");
      for (const [name, colour] of layer.swatches) {
        const line = make("li");
        line.append(swatch(colour), make("span", "", name));
        list_.append(line);
      }
      text.append(list_);
    }
    if (item.note) text.append(make("p", "faint", item.note));
    if (item.links.length) {
      const links = make("div", "links");
      downloads(item, links);
      text.append(links);
    }
    box.append(button, text);
    return box;
  }

  function select() {
    const className = chosen("class");
    const order = chosen("order");
    shown = items.filter((item) => !className || item.classes.includes(className));
    if (order) {
      const sign = order === "up" ? 1 : -1;
      const key = (item) => scoreOf(item, className);
      shown.sort((a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === null || right === null) return (left === null) - (right === null);
        return sign * (left - right);
      });
    }
  }

  function draw() {
    select();
    const name = chosen("layer");
    byId("grid").replaceChildren(...shown.slice(0, limit).map((item, place) => card(item, shown, place, name)));
    const count = shown.length === items.length ? `${items.length} images` : `${shown.length} of ${items.length} images`;
    byId("count").textContent = count;
    byId("more").hidden = shown.length <= limit;
    byId("more").textContent = `Show ${Math.min(MORE, shown.length - limit)} more`;
  }

  function extremes() {
    const final = (item) => item.layers.findLast((layer) => layer.score !== null);
    const ranked = items.filter(final).sort((a, b) => final(a).score - final(b).score);
    for (const strip of document.querySelectorAll("[data-extreme]")) {
      const count = Math.min(Number(strip.dataset.count), Math.floor(ranked.length / 2) || 1);
      const list = strip.dataset.extreme === "worst" ? ranked.slice(0, count) : ranked.slice(-count).reverse();
      strip.replaceChildren(...list.map((item, place) => card(item, list, place, final(item).name)));
    }
  }

  function figure(item, name, layer) {
    const box = make("figure");
    box.style.setProperty("--shape", item.w / item.h);
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-label", `${name}: larger or smaller`);
    button.setAttribute("aria-pressed", "false");
    button.append(stack(item, layer, true));
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(box.classList.toggle("large")));
    });
    const caption = make("figcaption", "", name);
    if (layer && layer.score !== null) caption.textContent += `, mIoU ${percent(layer.score)}`;
    if (layer) caption.append(legend(layer));
    box.append(button, caption);
    return box;
  }

  function figures(item) {
    const scored = item.layers.filter((layer) => layer.score !== null);
    const names = [...new Set(scored.flatMap((layer) => Object.keys(layer.by)))];
    if (!names.length) return;
    const table = make("table");
    const head = table.createTHead().insertRow();
    for (const text of ["IoU", ...scored.map((layer) => layer.name)]) head.append(make("th", "", text));
    const body = table.createTBody();
    for (const name of names) {
      const row = body.insertRow();
      row.append(make("th", "", name));
      for (const layer of scored) {
        const value = layer.by[name];
        row.append(make("td", "number", value === undefined || value === null ? "–" : percent(value)));
      }
    }
    byId("viewer-table").replaceChildren(table);
  }

  function view() {
    const item = walked[position];
    byId("viewer-title").textContent = `${item.title} (${position + 1} of ${walked.length})`;
    byId("viewer-note").textContent = [item.classes.join(", "), item.note].filter(Boolean).join("; ");
    const present = item.layers.map((layer) => figure(item, layer.name, layer));
    byId("layers").replaceChildren(...(item.uri ? [figure(item, "image")] : []), ...present);
    byId("viewer-table").replaceChildren();
    figures(item);
    byId("viewer-links").replaceChildren();
    downloads(item, byId("viewer-links"));
    byId("viewer").scrollTop = 0;
  }

  function open(list, place) {
    walked = list;
    position = place;
    view();
    byId("viewer").showModal();
  }

  function step(by) {
    position = (position + by + walked.length) % walked.length;
    view();
  }

  for (const id of ["class", "layer", "order"]) {
    if (byId(id)) byId(id).addEventListener("change", () => { limit = FIRST; draw(); });
  }
  byId("bar").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => { limit += MORE; draw(); });
  const sliders = [...document.querySelectorAll("input.opacity")];
  for (const slider of sliders) {
    slider.addEventListener("input", () => {
      document.documentElement.style.setProperty("--opacity", slider.value / 100);
      sliders.forEach((other) => { other.value = slider.value; });
    });
  }
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("click", (event) => { if (event.target === byId("viewer")) byId("viewer").close(); });
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.target.type === "range") return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  draw();
  extremes();
})();

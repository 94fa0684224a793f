// Hints: a person says of some pixels of some images what they are, and saves hints.json for data.hints.
// Mouse, touch and keyboard; nothing leaves the page but the file. Points are in pixels of the image itself.
(() => {
  const LEAST = 4;  // screen pixels that a line or a box is long at least; shorter is a click
  const KEY_STEP = 0.02;  // of the image's width, that an arrow key moves the cross
  const KINDS = { p: "point", l: "line", b: "rectangle" };
  const svg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    for (const name of ["stroke", "stroke-width", "fill"]) element.style.setProperty(name, attributes[name] ?? "");
    return element;
  };
  const items = JSON.parse(byId("gallery-data").textContent);
  const labels = JSON.parse(byId("hint-labels").textContent);  // the background first
  const order = [...items].sort(
    (one, other) => (one.certainty ?? 2) - (other.certainty ?? 2) || one.title.localeCompare(other.title));
  const hints = new Map();  // image -> its shapes, in the order in which they were given
  let others = [];  // records of images that are not on this page, which are saved again as they are
  let position = 0;
  let drawing = null;  // the shape under the pointer, or begun by the keyboard
  let cross = null;  // [x, y] of the keyboard, in pixels
  let isSaved = true;

  const item = () => order[position];
  const shapes = () => hints.get(item().title) ?? [];
  const scale = () => item().size[1] / byId("canvas").getBoundingClientRect().width;  // pixels per screen pixel
  const kind = () => document.querySelector("input[name=kind]:checked").value;
  // That of the masks on the page; a class that none of them has gets one of its own.
  const colors = new Map(items.flatMap((each) => each.layers).flatMap((layer) => layer.legend));
  const colorOf = (label) => (label === labels[0] ? "#000"
    : colors.get(label) ?? `hsl(${(labels.indexOf(label) * 137) % 360}, 90%, 55%)`);

  function tell(text) {
    byId("hint-status").textContent = text;
  }

  function count() {
    const given = [...hints.values(), ...others.map((record) => record.shapes)].filter((found) => found.length);
    const some = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
    return `${some(given.reduce((sum, found) => sum + found.length, 0), "hint")} on ${some(given.length, "image")}`;
  }

  function element(shape) {
    const width = Math.max(2, 5 * scale());
    const points = shape.points.map((point) => point.join(",")).join(" ");
    const style = { stroke: colorOf(shape.label), "stroke-width": width, fill: "none" };
    const [[x, y], [toX, toY] = [x, y]] = [shape.points[0], shape.points.at(-1)];
    const box = { x: Math.min(x, toX), y: Math.min(y, toY), width: Math.abs(toX - x), height: Math.abs(toY - y) };
    const drawn = {
      point: () => svg("circle", { ...style, cx: x, cy: y, r: 1.2 * width, fill: colorOf(shape.label), stroke: "#fff",
        "stroke-width": width / 3 }),
      line: () => svg("polyline", { ...style, points }),
      polygon: () => svg("polygon", { ...style, points }),
      rectangle: () => svg("rect", { ...style, ...box }),
    }[shape.shape_type]();
    const title = svg("title", {});
    title.textContent = `${shape.shape_type}: ${shape.label}`;
    drawn.append(title);
    return drawn;
  }

  function draw() {
    const canvas = byId("canvas");
    canvas.replaceChildren(...[...shapes(), ...(drawing ? [drawing] : [])].map(element));
    if (cross) {
      const [x, y] = cross;
      const style = { stroke: "#fff", "stroke-width": 2 * scale() };
      canvas.append(svg("path", { ...style, d: `M${x - 9 * scale()} ${y}h${18 * scale()}` }),
        svg("path", { ...style, d: `M${x} ${y - 9 * scale()}v${18 * scale()}` }));
    }
    byId("undo").disabled = !shapes().length;
    byId("label-color").style.background = colorOf(byId("label").value);
    byId("hint-count").textContent = count();
  }

  function open() {
    const [height, width] = item().size;
    drawing = cross = null;
    byId("editor-title").textContent = `${item().title} (${position + 1} of ${order.length})`;
    const certainty = item().certainty;
    byId("editor-note").textContent = certainty === null ? "" : `certainty ${certainty.toFixed(2)}`;
    const mask = item().layers.findLast((layer) => layer.over && layer.legend.length);
    byId("editor-legend").replaceChildren(...(mask ? mask.legend : []).flatMap(([name, color]) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = color;
      return [swatch, ` ${name} `];
    }));
    byId("under").src = item().uri;
    byId("over").hidden = !mask;
    if (mask) byId("over").src = mask.uri;
    byId("paper").style.aspectRatio = `${width} / ${height}`;
    byId("paper").style.setProperty("--shape", width / height);
    byId("canvas").setAttribute("viewBox", `0 0 ${width} ${height}`);
    const known = item().classes.filter((name) => labels.includes(name));
    const rest = labels.slice(1).filter((name) => !known.includes(name));
    byId("label").replaceChildren(...[...known, labels[0], ...rest].map((name) => new Option(name, name)));
    tell("");
    draw();
  }

  function step(by) {
    position = (position + by + order.length) % order.length;
    open();
  }

  function add(shape) {
    // A click on a click corrects it; both would contradict.
    const near = (other) => other.shape_type === "point" && shape.shape_type === "point"
      && Math.hypot(other.points[0][0] - shape.points[0][0], other.points[0][1] - shape.points[0][1])
        <= 0.01 * Math.max(...item().size);
    hints.set(item().title, [...shapes().filter((other) => !near(other)), shape]);
    isSaved = false;
    tell(`${shape.shape_type === "rectangle" ? "box" : shape.shape_type}: ${shape.label}`);
  }

  function begin(point) {
    drawing = { shape_type: kind(), label: byId("label").value, points: [point] };
  }

  function extend(point) {
    drawing.points = drawing.shape_type === "line" ? [...drawing.points, point] : [drawing.points[0], point];
  }

  function finish() {
    const [[x, y], [toX, toY]] = [drawing.points[0], drawing.points.at(-1)];
    const length = drawing.shape_type === "line" ? Math.hypot(toX - x, toY - y)
      : Math.min(Math.abs(toX - x), Math.abs(toY - y));
    if (drawing.shape_type === "point") drawing.points = [drawing.points[0]];
    if (drawing.shape_type === "point" || length >= LEAST * scale()) add(drawing);
    else tell(`drag to draw a ${drawing.shape_type === "line" ? "line" : "box"}`);
    drawing = null;
    draw();
  }

  function undo() {
    hints.set(item().title, shapes().slice(0, -1));
    isSaved = false;
    draw();
    tell("undone");
  }

  function at(event) {
    const box = byId("canvas").getBoundingClientRect();
    const [height, width] = item().size;
    const inside = (part, size) => Math.round(10 * Math.min(size - 0.1, Math.max(0, part * size))) / 10;
    return [inside((event.clientX - box.left) / box.width, width), inside((event.clientY - box.top) / box.height, height)];
  }

  function save() {
    const given = items.filter((each) => (hints.get(each.title) ?? []).length);
    const records = given.map((each) => (
      { image: each.title, content: each.content, width: each.size[1], height: each.size[0],
        shapes: hints.get(each.title) }));
    const text = JSON.stringify({ hints: [...records, ...others] }, null, 1);
    const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    make("a", { href, download: "hints.json" }).click();
    URL.revokeObjectURL(href);
    isSaved = true;
    tell(`saved ${count()}; train with --set data.hints=hints.json`);
  }

  async function load(file) {
    try {
      const records = JSON.parse(await file.text()).hints;
      const here = new Map(items.map((each) => [each.title, each]));
      for (const { image, content, width, height, shapes: found } of records) {
        const [rows, columns] = here.get(image)?.size ?? [height, width];
        if (rows !== height || columns !== width) throw Error(`${image} had ${width} x ${height} pixels`);
        if (content && here.has(image) && content !== here.get(image).content) throw Error(`${image} was another image`);
        const strange = found.find((shape) => ![...Object.values(KINDS), "polygon"].includes(shape.shape_type));
        if (strange) throw Error(`${image} has a ${strange.shape_type}, which this page cannot draw`);
      }
      const isNew = (given) => (one) => !given.some((other) => JSON.stringify(other) === JSON.stringify(one));
      others = [...others, ...records.filter((record) => !here.has(record.image)).filter(isNew(others))];
      for (const { image, shapes: found } of records.filter((record) => here.has(record.image)))
        hints.set(image, [...(hints.get(image) ?? []), ...found.filter(isNew(hints.get(image) ?? []))]);
      draw();
      tell(`opened ${count()}${others.length ? `, ${others.length} images of them not on this page` : ""}`);
    } catch (error) {
      tell(`${file.name} is no hints.json of this page: ${error.message}`);
    }
  }

  function press(event) {
    const [height, width] = item().size;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const onCanvas = event.target === byId("canvas");
    if (["SELECT", "INPUT"].includes(event.target.tagName) && event.target.type !== "radio") return;
    if (onCanvas && moves[event.key]) {
      const [x, y] = cross ?? [width / 2, height / 2];
      const [byX, byY] = moves[event.key].map((part) => part * Math.max(1, KEY_STEP * width));
      cross = [Math.min(width - 1, Math.max(0, x + byX)), Math.min(height - 1, Math.max(0, y + byY))];
      if (drawing) extend(cross);
      draw();
    } else if (onCanvas && ["Enter", " "].includes(event.key)) {
      cross ??= [width / 2, height / 2];
      if (drawing) finish();
      else begin(cross);
      if (drawing && drawing.shape_type === "point") finish();
    } else if (KINDS[event.key]) byId(`kind-${KINDS[event.key]}`).checked = true;
    else if (event.key === "u" || (event.key === "z" && event.ctrlKey)) { if (shapes().length) undo(); }
    else if (event.key === "n") step(1);
    else if (/^[1-9]$/.test(event.key) && byId("label").options[event.key - 1]) {
      byId("label").selectedIndex = event.key - 1;
      draw();
    } else return;
    event.preventDefault();
  }

  const canvas = byId("canvas");
  canvas.onpointerdown = (event) => {
    if (event.button) return;
    cross = null;
    canvas.setPointerCapture(event.pointerId);
    begin(at(event));
    draw();
  };
  canvas.onpointermove = (event) => {
    if (!drawing || cross || drawing.shape_type === "point") return;
    extend(at(event));
    draw();
  };
  canvas.onpointerup = () => { if (drawing && !cross) finish(); };
  canvas.onpointercancel = () => { drawing = null; draw(); };
  byId("give-hints").onclick = () => { open(); byId("editor").showModal(); draw(); };
  byId("label").onchange = draw;
  byId("undo").onclick = undo;
  byId("hint-previous").onclick = () => step(-1);
  byId("hint-next").onclick = () => step(1);
  byId("save").onclick = save;
  byId("load").onchange = (event) => { if (event.target.files[0]) load(event.target.files[0]); };
  byId("editor-close").onclick = () => byId("editor").close();
  byId("editor").onkeydown = press;
  window.onresize = () => { if (byId("editor").open) draw(); };
  window.onbeforeunload = (event) => { if (!isSaved) event.preventDefault(); };
})();

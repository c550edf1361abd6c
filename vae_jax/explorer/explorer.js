"use strict";
// One file for two places: in a worker it decodes codes, in a page it shows them. Words of the data
// become text nodes only, never markup.

// --- Plans: the steps that plans.py wrote, on plain typed arrays

const tanh = Math.tanh;
const logistic = (x) => 1 / (1 + Math.exp(-x));

function erf(x) {
  // by its series below 2.5, by a continued fraction above: errors are below those of float32
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; n < 60 && Math.abs(term) > 1e-17; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * sum * 2) / Math.sqrt(Math.PI);
  }
  return Math.sign(x) * (1 - erfc(a));
}

function erfc(x) {
  if (x < 2.5) return 1 - erf(x);
  let tail = x;
  for (let n = 60; n > 0; n--) tail = x + n / 2 / tail;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * tail);
}

function roundEven(x) {
  const low = Math.floor(x), rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

const MAPS = {
  tanh, logistic, erf, erfc, abs: Math.abs, ceil: Math.ceil, cos: Math.cos, exp: Math.exp,
  exp2: (x) => 2 ** x, expm1: Math.expm1, floor: Math.floor,
  is_finite: (x) => +Number.isFinite(x), log: Math.log, log1p: Math.log1p, neg: (x) => -x,
  not: (x) => +!x, round: roundEven, rsqrt: (x) => 1 / Math.sqrt(x), sign: Math.sign,
  sin: Math.sin, sqrt: Math.sqrt, square: (x) => x * x, trunc: Math.trunc,
};

const ZIPS = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b,
  max: (a, b) => (a >= b || a !== a ? a : b), min: (a, b) => (a <= b || a !== a ? a : b),
  pow: Math.pow, atan2: Math.atan2, and: (a, b) => +(a && b), or: (a, b) => +(a || b),
  eq: (a, b) => +(a === b), ne: (a, b) => +(a !== b), lt: (a, b) => +(a < b),
  le: (a, b) => +(a <= b), gt: (a, b) => +(a > b), ge: (a, b) => +(a >= b),
};

const sumOf = (a, b) => a + b;
const REDUCTIONS = {
  sum: [0, sumOf], prod: [1, (a, b) => a * b], max: [-Infinity, ZIPS.max],
  min: [Infinity, ZIPS.min], and: [1, ZIPS.and], or: [0, ZIPS.or],
};

// Where each number of `shape` is in an array of another shape, which is broadcast to it.
function broadcastPlaces(from, shape) {
  const places = new Int32Array(shape.reduce((a, b) => a * b, 1));
  const own = [...Array(shape.length - from.length).fill(1), ...from];
  let stride = 1, run = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (own[axis] > 1) {
      for (let i = 0; i < places.length; i++) {
        places[i] += (Math.floor(i / run) % shape[axis]) * stride;
      }
    }
    stride *= own[axis];
    run *= shape[axis];
  }
  return places;
}

const STEPS = {
  map(step, [x], [out]) {
    const f = step.of === "power" ? (v) => v ** step.exponent : MAPS[step.of];
    return () => {
      for (let i = 0; i < out.length; i++) out[i] = f(x[i]);
    };
  },
  zip(step, [a, b], [out]) {
    const f = ZIPS[step.of];
    const [p, q] = [a, b].map((x, k) => placesOf(step, x, k, out));
    if (p === null && q === null) {
      return () => {
        for (let i = 0; i < out.length; i++) out[i] = f(a[i], b[i]);
      };
    }
    const [s, t] = [p, q].map((each) => each ?? Int32Array.from(out, (_, i) => i));
    return () => {
      for (let i = 0; i < out.length; i++) out[i] = f(a[s[i]], b[t[i]]);
    };
  },
  select(step, operands, [out]) {
    const places = operands.map(
      (x, k) => placesOf(step, x, k, out) ?? Int32Array.from(out, (_, i) => i),
    );
    const [which, no, yes] = operands;
    return () => {
      for (let i = 0; i < out.length; i++) {
        out[i] = which[places[0][i]] ? yes[places[2][i]] : no[places[1][i]];
      }
    };
  },
  take(step, operands, [out], places) {
    const own = places[step.places];
    if (operands.length === 1) {
      const x = operands[0];
      return () => {
        for (let i = 0; i < out.length; i++) out[i] = x[own[i]];
      };
    }
    const all = new Float32Array(operands.reduce((sum, x) => sum + x.length, 0));
    return () => {
      let start = 0;
      for (const x of operands) {
        all.set(x, start);
        start += x.length;
      }
      for (let i = 0; i < out.length; i++) out[i] = all[own[i]];
    };
  },
  matmul(step, [a, b], [out]) {
    const [groups, rows, inner, columns] = step.size;
    return () => {
      out.fill(0);
      for (let g = 0; g < groups; g++) {
        for (let m = 0; m < rows; m++) {
          const into = (g * rows + m) * columns;
          for (let k = 0; k < inner; k++) {
            const value = a[(g * rows + m) * inner + k], from = (g * inner + k) * columns;
            if (value === 0) continue;
            for (let n = 0; n < columns; n++) out[into + n] += value * b[from + n];
          }
        }
      }
    };
  },
  conv(step, [x, kernel], [out]) {
    const { stride, low, dilate, spread } = step;
    const [num, height, width, channels] = step.image;
    const [kernelRows, kernelColumns, , features] = step.kernel;
    const [outRows, outColumns] = step.features;
    // the row of the image under a row of the kernel, or −1
    const under = (o, k, axis, size) => {
      const at = o * stride[axis] - low[axis] + k * spread[axis];
      return at % dilate[axis] || at < 0 || at / dilate[axis] >= size ? -1 : at / dilate[axis];
    };
    const addPlace = (into, from, tap) => {
      for (let c = 0; c < channels; c++) {
        const value = x[from + c], row = (tap * channels + c) * features;
        if (value === 0) continue;
        for (let f = 0; f < features; f++) out[into + f] += value * kernel[row + f];
      }
    };
    const addTaps = (b, i, j, into) => {
      for (let u = 0; u < kernelRows; u++) {
        const row = under(i, u, 0, height);
        for (let v = 0; row >= 0 && v < kernelColumns; v++) {
          const column = under(j, v, 1, width);
          const from = ((b * height + row) * width + column) * channels;
          if (column >= 0) addPlace(into, from, u * kernelColumns + v);
        }
      }
    };
    return () => {
      out.fill(0);
      for (let b = 0, into = 0; b < num; b++) {
        for (let i = 0; i < outRows; i++) {
          for (let j = 0; j < outColumns; j++, into += features) addTaps(b, i, j, into);
        }
      }
    };
  },
  reduce(step, [x], [out]) {
    const { length } = step;
    if (step.of.startsWith("arg")) {
      const isBetter = step.of === "argmax" ? (a, b) => a > b : (a, b) => a < b;
      return () => {
        for (let i = 0; i < out.length; i++) {
          let best = 0;
          for (let k = 1; k < length; k++) {
            if (isBetter(x[i * length + k], x[i * length + best])) best = k;
          }
          out[i] = best;
        }
      };
    }
    const [start, f] = REDUCTIONS[step.of];
    return () => {
      for (let i = 0; i < out.length; i++) {
        let total = start;
        for (let k = 0; k < length; k++) total = f(total, x[i * length + k]);
        out[i] = total;
      }
    };
  },
  cumsum(step, [x], [out]) {
    const { length, reverse } = step;
    return () => {
      for (let i = 0; i < out.length; i += length) {
        let total = 0;
        for (let k = 0; k < length; k++) {
          const at = i + (reverse ? length - 1 - k : k);
          out[at] = total += x[at];
        }
      }
    };
  },
  scan(step, operands, outs, places, constants) {
    const body = compile(step.body, constants, places);
    const { fixed, carried, length, reverse } = step;
    const own = body.inputs, ends = body.outputs;
    const state = own.slice(fixed, fixed + carried).map((x) => new Float32Array(x.length));
    const slice = (x, t, size) => x.subarray(t * size, (t + 1) * size);
    return () => {
      for (let i = 0; i < fixed; i++) own[i].set(operands[i]);
      for (let i = 0; i < carried; i++) state[i].set(operands[fixed + i]);
      for (let k = 0; k < length; k++) {
        const t = reverse ? length - 1 - k : k;
        state.forEach((x, i) => own[fixed + i].set(x));
        for (let i = fixed + carried; i < own.length; i++) {
          own[i].set(slice(operands[i], t, own[i].length));
        }
        body.run();
        state.forEach((x, i) => x.set(ends[i]));
        for (let i = carried; i < outs.length; i++) {
          slice(outs[i], t, ends[i].length).set(ends[i]);
        }
      }
      state.forEach((x, i) => outs[i].set(x));
    };
  },
};

// Where the numbers of the output are in an operand: null if at the same places.
function placesOf(step, x, k, out) {
  if (x.length === out.length && !step.shapes) return null;
  if (x.length === 1) return new Int32Array(out.length);
  return step.shapes ? broadcastPlaces(step.shapes[k], step.shape) : null;
}

// A program as a function: `inputs` and `outputs` are its arrays, `run` computes the outputs.
function compile(program, constants, places) {
  const slots = program.sizes.map((size) => new Float32Array(size));
  const find = (n) => (n < 0 ? constants[-1 - n] : slots[n]);
  const steps = program.steps.map((step) =>
    STEPS[step.op](step, step.in.map(find), step.out.map(find), places, constants),
  );
  return {
    inputs: program.inputs.map(find),
    outputs: program.outputs.map(find),
    run: () => {
      for (const step of steps) step();
    },
  };
}

// A decoder: codes [n, L], conditions [n, C] or null, to outputs [n, D].
function makeDecoder({ program, constants, places }) {
  const { inputs, outputs, run } = compile(program, constants, places);
  return (codes, conditions) => {
    const given = [codes, conditions], num = codes.length / inputs[0].length;
    const result = new Float32Array(num * outputs[0].length);
    for (let i = 0; i < num; i++) {
      inputs.forEach((x, k) => x.set(given[k].subarray(i * x.length, (i + 1) * x.length)));
      run();
      result.set(outputs[0], i * outputs[0].length);
    }
    return result;
  };
}

function serve(scope) {
  let decode = null;
  scope.onmessage = ({ data }) => {
    if (data.plan) {
      decode = makeDecoder(data.plan);
      scope.postMessage({ ready: true });
      return;
    }
    const start = performance.now();
    const outputs = decode(data.codes, data.conditions);
    const milliseconds = performance.now() - start;
    scope.postMessage({ id: data.id, outputs, milliseconds }, [outputs.buffer]);
  };
}

// A function from codes and conditions to a promise of {outputs, milliseconds}: of a worker, or of
// this page where the browser starts none for a file.
async function startDecoder(plan, source) {
  const decode = makeDecoder(plan);
  const here = async (codes, conditions) => {
    const start = performance.now(), outputs = decode(codes, conditions);
    return { outputs, milliseconds: performance.now() - start };
  };
  try {
    const there = await startWorker(plan, source);
    return { decode: there, where: "a worker" };
  } catch {
    return { decode: here, where: "the page" };
  }
}

function startWorker(plan, source) {
  return new Promise((resolve, reject) => {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const worker = new Worker(address);
    const waiting = new Map();
    let last = 0;
    const ask = (codes, conditions) =>
      new Promise((answer) => {
        waiting.set(++last, answer);
        worker.postMessage({ id: last, codes, conditions });
      });
    worker.onerror = reject;
    worker.onmessage = ({ data }) => {
      if (data.ready) {
        URL.revokeObjectURL(address);
        resolve(ask);
        return;
      }
      waiting.get(data.id)(data);
      waiting.delete(data.id);
    };
    setTimeout(reject, 5000);
    worker.postMessage({ plan });
  });
}

// --- Arrays of the page

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const READERS = {
  float32: (buffer, at, size) => new Float32Array(buffer, at, size),
  int32: (buffer, at, size) => new Int32Array(buffer, at, size),
  uint8: (buffer, at, size) => new Uint8Array(buffer, at, size),
  float16: (buffer, at, size) => Float32Array.from(new Uint16Array(buffer, at, size), half),
  // differences of neighbors, which take less room
  steps32: (buffer, at, size) => {
    let total = 0;
    return new Int32Array(buffer, at, size).map((step) => (total += step));
  },
};

async function readArrays(text, about) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return about.map(({ dtype, at, size }) => READERS[dtype](buffer, at, size));
}

// --- Elements

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, String(value));
  }
  node.append(...children);
  return node;
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// Colors and marks of labels, which the page brings.
let PALETTE = null;
const palette = () => (isDark() ? PALETTE.dark : PALETTE.light);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

const number = (x, digits = 3) => (Number.isFinite(x) ? String(+x.toPrecision(digits)) : "missing");

// --- What numbers of an example are: pictures, series, text, cells

function paintImage(canvas, values, [height, width, channels]) {
  const planes = channels === 1 || channels === 3 ? 1 : channels;
  canvas.width = width * planes;
  canvas.height = height;
  const context = canvas.getContext("2d"), picture = context.createImageData(width * planes, height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width * planes; column++) {
      const plane = Math.floor(column / width);
      const from = (row * width + (column % width)) * channels + plane;
      const into = 4 * (row * width * planes + column);
      for (let c = 0; c < 3; c++) picture.data[into + c] = 255 * values[from + (channels === 3 ? c : 0)];
      picture.data[into + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
}

function paintSeries(canvas, values, { shape: [length, channels], low, high }) {
  canvas.width = 320;
  canvas.height = 160;
  const context = canvas.getContext("2d"), colors = palette().labels;
  context.lineWidth = 2;
  const x = (t) => 4 + (312 * t) / Math.max(1, length - 1);
  const y = (v) => 156 - (152 * (v - low)) / (high - low || 1);
  for (let c = 0; c < channels; c++) {
    context.strokeStyle = colors[c % colors.length];
    context.beginPath();
    for (let t = 0, isOn = false; t < length; t++) {
      const value = values[t * channels + c];
      if (Number.isNaN(value)) isOn = false;
      else if (isOn) context.lineTo(x(t), y(value));
      else context.moveTo(x(t), y(value)), (isOn = true);
    }
    context.stroke();
  }
}

function readText(values, { alphabet }) {
  let text = "";
  for (const value of values) {
    const level = Math.round(value * alphabet.length);
    if (!(level > 0)) break;
    text += alphabet[level - 1];
  }
  return text;
}

function readCell(values, column) {
  const own = values.subarray(column.start, column.start + column.width);
  if (own.some(Number.isNaN)) return "missing";
  const level = (k) => String(column.levels[k]);
  const value = own[0] * column.scale + column.center;
  switch (column.how) {
    case "likeliest": return level(own.indexOf(Math.max(...own)));
    case "half": return level(own[0] >= 0.5 ? 1 : 0);
    case "median": return level(own.filter((x) => x >= 0.5).length);
    case "count": return String(Math.max(0, Math.round(value)));
    case "date": return tellDate(value, column.isDay);
    default: return number(value, 4);
  }
}

function tellDate(days, isDay) {
  const date = new Date(isDay ? Math.round(days) * 864e5 : Math.round(days * 86400) * 1000);
  if (Number.isNaN(date.getTime())) return "missing";
  return isDay ? date.toISOString().slice(0, 10) : date.toISOString().slice(0, 19).replace("T", " ");
}

// Shows items {values, caption, onclick} in a node, and keeps the elements that are there.
function showItems(view, node, items) {
  if (view.kind === "table") return showTable(view, node, items);
  const tag = items.some((item) => item.onclick) ? "button" : "figure";
  while (node.children.length > items.length) node.lastChild.remove();
  while (node.children.length < items.length) node.append(makeItem(view, tag));
  items.forEach((item, i) => showItem(view, node.children[i], item));
}

function makeItem(view, tag) {
  const body = view.kind === "text" ? make("q") : make("canvas", { role: "img" });
  const name = tag === "button" ? "span" : "figcaption";
  return make(tag, { class: "item", ...(tag === "button" && { type: "button" }) }, body, make(name));
}

function showItem(view, node, { values, caption, shape, onclick }) {
  const [body, words] = node.children;
  if (view.kind === "image") paintImage(body, values, shape ?? view.shape);
  else if (view.kind === "series") paintSeries(body, values, view);
  else body.textContent = readText(values, view);
  if (view.kind !== "text") body.setAttribute("aria-label", caption);
  words.textContent = caption;
  node.onclick = onclick ?? null;
}

function showTable(view, node, items) {
  const head = make("tr", {}, make("th", { scope: "col" }, "column"));
  for (const { caption, onclick } of items) {
    const name = onclick ? make("button", { type: "button", onclick }, caption) : caption;
    head.append(make("th", { scope: "col" }, name));
  }
  const rows = view.columns.map((column) =>
    make(
      "tr", {}, make("th", { scope: "row" }, column.name),
      ...items.map(({ values }) => make("td", {}, readCell(values, column))),
    ),
  );
  node.replaceChildren(make("div", { class: "wide" }, make("table", {}, head, ...rows)));
}

// --- The page

// Calls an asynchronous function, and once more if it was asked for meanwhile: the newest wins.
function latest(run) {
  let isBusy = false, isAsked = false;
  return async () => {
    isAsked = true;
    if (isBusy) return;
    isBusy = true;
    while (isAsked) {
      isAsked = false;
      await run();
    }
    isBusy = false;
  };
}

class Explorer {
  constructor(about, arrays, decoder) {
    Object.assign(this, { about, arrays, decoder });
    this.size = about.latent.size;
    this.codes = arrays[about.codes];
    this.num = this.codes.length / this.size;
    this.labels = about.labels === null ? null : arrays[about.labels];
    this.selected = 0;
    this.ends = [0, Math.min(1, this.num - 1)];
    this.code = this.codeOf(0);
    this.condition = this.conditionOf(0);
    this.drawn = 0;
  }

  codeOf(i) {
    return this.codes.slice(i * this.size, (i + 1) * this.size);
  }

  conditionOf(i) {
    const told = this.about.conditions;
    return told && this.arrays[told.of].slice(i * told.size, (i + 1) * told.size);
  }

  stored(name, i) {
    const all = this.arrays[this.about[name]], size = all.length / this.num;
    const values = all.subarray(i * size, (i + 1) * size);
    return this.about.isBytes ? Float32Array.from(values, (x) => x / 255) : values;
  }

  // Items of a list of codes; each has its own condition or the current one. One is decoded after
  // the other, so that the picture of a slider waits for one of them at most.
  async decoded(codes, captions, conditions = codes.map(() => this.condition)) {
    const items = [];
    for (const [i, code] of codes.entries()) {
      const told = this.about.conditions ? conditions[i] : null;
      const { outputs, milliseconds } = await this.decoder.decode(code, told);
      this.milliseconds = milliseconds;
      items.push({ caption: captions[i], values: outputs });
    }
    return items;
  }

  named(i) {
    if (!this.labels) return `example ${i}`;
    const label = this.labels[i], names = this.about.labelNames;
    if (label < 0) return `example ${i}, label unknown`;
    return `example ${i}, label ${names ? names[label] : label}`;
  }

  // --- Building

  build(root) {
    const panels = [this.buildScatter(), this.buildSelected()];
    root.append(make("div", { class: "columns" }, ...panels));
    if (this.decoder) root.append(this.buildCode(), this.buildTraversal(), this.buildBetween());
    else root.append(make("p", { class: "note", id: "why" }, this.about.why));
    if (this.about.draws.length) root.append(this.buildDraws());
    this.select(0, true);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    addEventListener("resize", () => this.paintScatter());
  }

  repaint() {
    this.buildLegend();
    this.paintScatter();
    this.select(this.selected, false);
    this.showCode?.();
  }

  buildScatter() {
    const { about } = this, names = [];
    about.planes.forEach((plane, p) => [0, 1].forEach((k) => names.push([`${plane.name} ${k + 1}`, p, k])));
    for (const d of about.latent.order) names.push([`z${d} (${this.rate(d)})`, null, d]);
    this.axisNames = names;
    const first = names.findIndex(([, plane]) => plane === null);
    this.axes = about.latent.order.length > 1 ? [first, first + 1] : [0, Math.min(1, names.length - 1)];
    const pick = (k, text) => {
      const list = make("select", { id: `axis-${k}` });
      names.forEach(([name], i) => list.append(make("option", { value: i, selected: i === this.axes[k] }, name)));
      list.addEventListener("change", () => {
        this.axes[k] = +list.value;
        this.paintScatter();
      });
      return make("label", {}, `${text} `, list);
    };
    this.scatter = make("canvas", {
      id: "scatter", tabindex: 0, role: "application", "aria-roledescription": "scatter plot",
      "aria-label": `Codes of ${this.num} examples. Arrow keys go to the next example in that ` +
        "direction, Enter puts its code on the sliders.",
      onkeydown: (event) => this.onKey(event),
      onmousemove: (event) => this.onPoint(event, false),
      onclick: (event) => this.onPoint(event, true),
    });
    this.legend = make("ul", { class: "legend", id: "legend" });
    this.buildLegend();
    return make("section", { "aria-labelledby": "h-codes" }, make("h2", { id: "h-codes" }, "Codes"),
      make("div", { class: "controls" }, pick(0, "across"), pick(1, "up")), this.scatter, this.legend);
  }

  buildLegend() {
    const used = this.labels ? [...new Set(this.labels)].filter((k) => k >= 0).sort((a, b) => a - b) : [];
    this.ranks = new Map(used.map((label, rank) => [label, rank]));
    this.isGraded = used.length > PALETTE.chosen.length;
    const shown = this.isGraded ? [used[0], used.at(-1)] : used;
    const told = this.isGraded ? [make("li", {}, `${used.length} labels, by shade from`)] : [];
    this.legend.replaceChildren(...told, ...shown.map((k) => {
      const mark = make("canvas", { width: 14, height: 14, "aria-hidden": "true" });
      this.paintMark(mark.getContext("2d"), 7, 7, 5, k);
      return make("li", {}, mark, String(this.about.labelNames ? this.about.labelNames[k] : k));
    }));
  }

  buildSelected() {
    this.picker = make("input", {
      id: "example", type: "number", min: 0, max: this.num - 1, value: 0,
      oninput: (event) => {
        const i = event.target.valueAsNumber;
        if (Number.isInteger(i) && i >= 0 && i < this.num) this.select(i, true);
      },
    });
    this.pair = make("div", { class: "items big", id: "pair" });
    this.near = make("div", { class: "items", id: "near" });
    this.said = make("p", { id: "said", "aria-live": "polite" });
    const to = (k, text) => make("button", {
      type: "button", id: `end-${k}`, onclick: () => {
        this.ends[k] = this.selected;
        this.showBetween();
      },
    }, text);
    const buttons = this.decoder ? [to(0, "Interpolate from here"), to(1, "Interpolate to here")] : [];
    return make("section", { "aria-labelledby": "h-example" }, make("h2", { id: "h-example" }, "Example"),
      make("div", { class: "controls" }, make("label", {}, "number ", this.picker), ...buttons),
      this.said, this.pair, make("h3", {}, "Nearest codes"), this.near);
  }

  buildCode() {
    const { latent } = this.about;
    this.sliders = new Map();
    const live = latent.order.filter((d) => latent.active[d]).slice(0, 40);
    const dead = latent.order.filter((d) => !live.includes(d));
    const lists = make("div", { class: "sliders", id: "sliders" }, ...this.groupPickers(),
      ...live.map((d) => this.slider(d)));
    const folded = make("details", { id: "dead" }, make("summary", {}, this.foldedWords(live, dead)));
    folded.addEventListener("toggle", () => {
      if (folded.children.length > 1) return;
      folded.append(make("div", { class: "sliders" }, ...dead.slice(0, 200).map((d) => this.slider(d))));
      this.placeSliders();
    });
    this.shown = make("div", { class: "items big", id: "shown" });
    this.told = make("p", { class: "note", id: "told" });
    this.showCode = latest(() => this.showCodeNow());
    const set = (id, text, code) => make("button", { type: "button", id, onclick: () => this.setCode(code()) }, text);
    const buttons = [
      set("to-example", "Code of the example", () => this.codeOf(this.selected)),
      set("to-mean", "Mean", () => Float32Array.from(latent.mean)),
    ];
    if (this.about.draws.length) buttons.push(set("to-draw", "Draw one", () => this.draw(0)));
    return make("section", { "aria-labelledby": "h-code" }, make("h2", { id: "h-code" }, "Decode any code"),
      make("div", { class: "controls" }, ...buttons, ...this.conditionPicker()),
      make("div", { class: "columns" }, make("div", {}, lists, ...(dead.length ? [folded] : [])),
        make("div", { class: "stays" }, this.shown, this.told)));
  }

  foldedWords(live, dead) {
    const isDead = dead.every((d) => !this.about.latent.active[d]);
    return isDead
      ? `${dead.length} dimensions that the model does not use`
      : `${dead.length} more dimensions, of lower ${this.about.latent.unit === "nats" ? "rate" : "variance"}`;
  }

  conditionPicker() {
    const told = this.about.conditions;
    if (!told) return [];
    const list = make("select", { id: "condition" }, make("option", { value: -1 }, "of the example"),
      ...told.names.map((name, k) => make("option", { value: k }, name)));
    list.addEventListener("change", () => {
      const k = +list.value;
      this.condition = k < 0 ? this.conditionOf(this.selected)
        : this.arrays[told.rows].slice(k * told.size, (k + 1) * told.size);
      this.showCode();
    });
    return [make("label", {}, "condition ", list)];
  }

  // Of discrete dimensions, a list for each group of which one is 1.
  groupPickers() {
    const { chosen, group } = this.about.latent, found = [];
    for (let start = 0; start < Math.min(chosen, 40 * group); start += group) {
      const list = make("select", { id: `group-${start / group}` });
      for (let k = 0; k < group; k++) list.append(make("option", { value: k }, String(k)));
      list.addEventListener("change", () => {
        this.code.fill(0, start, start + group);
        this.code[start + +list.value] = 1;
        this.changed();
      });
      this.sliders.set(`group ${start}`, () => {
        const own = this.code.subarray(start, start + group);
        list.value = own.indexOf(Math.max(...own));
      });
      found.push(make("label", {}, `category ${start / group} `, list));
    }
    return found;
  }

  slider(d) {
    const { mean, deviation, low, high } = this.about.latent;
    const from = Math.min(mean[d] - 3 * deviation[d], low[d]);
    const to = Math.max(mean[d] + 3 * deviation[d], high[d]);
    const output = make("output", { for: `z${d}` });
    const input = make("input", { id: `z${d}`, type: "range", min: from, max: to, step: (to - from) / 200 || 1 });
    const told = () => {
      output.textContent = this.code[d].toFixed(2);
      input.setAttribute("aria-valuetext", this.code[d].toFixed(2));
    };
    input.addEventListener("input", () => {
      this.asked = performance.now();
      this.code[d] = +input.value;
      this.dimension = d;
      told();
      this.changed();
    });
    this.sliders.set(d, () => {
      input.value = this.code[d];
      told();
    });
    return make("div", { class: "slider" }, make("label", { for: `z${d}` }, `z${d} `,
      make("small", {}, this.rate(d))), input, output);
  }

  rate(d) {
    return `${number(this.about.latent.rates[d], 2)} ${this.about.latent.unit}`;
  }

  buildTraversal() {
    const { latent } = this.about;
    this.dimension = latent.order[0] ?? null;
    this.path = make("div", { class: "items", id: "path" });
    this.along = make("select", { id: "along" },
      ...latent.order.slice(0, 200).map((d) => make("option", { value: d }, `z${d} (${this.rate(d)})`)));
    this.along.addEventListener("change", () => {
      this.dimension = +this.along.value;
      this.showPath();
    });
    this.showPath = latest(() => this.showPathNow());
    if (this.dimension === null) return make("div");
    return make("section", { "aria-labelledby": "h-path" },
      make("h2", { id: "h-path" }, "One dimension of this code"),
      make("div", { class: "controls" }, make("label", {}, "dimension ", this.along)), this.path);
  }

  buildBetween() {
    this.between = make("div", { class: "items", id: "between" });
    this.showBetween = latest(() => this.showBetweenNow());
    return make("section", { "aria-labelledby": "h-between" },
      make("h2", { id: "h-between" }, "Between two examples"), this.between);
  }

  buildDraws() {
    this.taken = this.about.draws.map(() => 0);
    this.source = make("select", { id: "source" },
      ...this.about.draws.map(({ name }, k) => make("option", { value: k }, name)));
    this.samples = make("div", { class: "items", id: "samples" });
    const show = latest(() => this.showDraws());
    this.source.addEventListener("change", show);
    show();
    return make("section", { "aria-labelledby": "h-draws" }, make("h2", { id: "h-draws" }, "Samples"),
      make("div", { class: "controls" }, make("label", {}, "codes from ", this.source),
        make("button", { type: "button", id: "more", onclick: show }, "Others")), this.samples);
  }

  // --- Selecting

  select(i, isPicked) {
    this.selected = i;
    if (isPicked && this.decoder) this.setCode(this.codeOf(i), this.conditionOf(i));
    if (document.activeElement !== this.picker) this.picker.value = i;
    const shape = this.about.inputShape;
    this.said.textContent = this.named(i);
    showItems(this.about.view, this.near, this.neighbors(i, 6).map((k) => ({
      values: this.stored("inputs", k), caption: this.named(k).replace("example ", ""), shape,
      onclick: () => this.select(k, true),
    })));
    this.paintScatter();
    (this.showPair ??= latest(() => this.showPairNow()))();
  }

  async showPairNow() {
    const i = this.selected, items = [{ values: this.stored("inputs", i), caption: "input", shape: this.about.inputShape }];
    if (this.decoder) {
      items.push(...await this.decoded([this.codeOf(i)], ["from its code"], [this.conditionOf(i)]));
    } else if (this.about.reconstructions !== null) {
      items.push({ values: this.stored("reconstructions", i), caption: "from its code", shape: this.about.inputShape });
    }
    showItems(this.about.view, this.pair, items);
    this.pair.dataset.example = i;
  }

  neighbors(i, num) {
    const own = this.codeOf(i), distances = new Float64Array(this.num);
    for (let k = 0; k < this.num; k++) {
      for (let d = 0; d < this.size; d++) distances[k] += (this.codes[k * this.size + d] - own[d]) ** 2;
    }
    const order = Array.from(distances.keys()).filter((k) => k !== i);
    return order.sort((a, b) => distances[a] - distances[b]).slice(0, num);
  }

  setCode(code, condition = this.condition) {
    this.code = code;
    this.condition = condition;
    this.asked = performance.now();
    this.placeSliders();
    this.changed();
  }

  placeSliders() {
    for (const place of this.sliders.values()) place();
  }

  changed() {
    this.showCode();
    clearTimeout(this.later);
    // a slider that moves needs the time of the decoder
    if (this.dimension !== null) this.later = setTimeout(() => this.showPath(), 20);
    if (!this.between.children.length) this.showBetween();
  }

  async showCodeNow() {
    const asked = this.asked;
    const items = await this.decoded([this.code], ["E[x|z]"]);
    showItems(this.about.view, this.shown, items);
    this.delay = performance.now() - asked;
    this.drawn++;
    this.told.textContent = `decoded in ${number(this.milliseconds, 2)} ms by ${this.decoder.where}`;
  }

  async showPathNow() {
    const { mean, deviation } = this.about.latent, d = this.dimension;
    this.along.value = d;
    const steps = [-3, -2.25, -1.5, -0.75, 0, 0.75, 1.5, 2.25, 3];
    const values = steps.map((step) => mean[d] + deviation[d] * step);
    const codes = values.map((value) => {
      const code = this.code.slice();
      code[d] = value;
      return code;
    });
    showItems(this.about.view, this.path, await this.decoded(codes, values.map((v) => number(v, 2))));
  }

  async showBetweenNow() {
    const [a, b] = this.ends, shares = Array.from({ length: 9 }, (_, k) => k / 8);
    const { discrete, group } = this.about.latent;
    const mix = (x, y, share) => x.map((value, d) =>
      d < discrete && y.length === this.size
        ? (Math.floor(d / group) + 0.5) * group <= share * discrete ? y[d] : value
        : value * (1 - share) + y[d] * share);
    const codes = shares.map((share) => mix(this.codeOf(a), this.codeOf(b), share));
    const told = this.about.conditions &&
      shares.map((share) => this.conditionOf(a).map((v, d) => v * (1 - share) + this.conditionOf(b)[d] * share));
    const captions = shares.map((share) => (share === 0 ? `of ${a}` : share === 1 ? `of ${b}` : number(share)));
    showItems(this.about.view, this.between, await this.decoded(codes, captions, told ?? undefined));
  }

  draw(source) {
    const all = this.arrays[this.about.draws[source].codes], num = all.length / this.size;
    const k = this.taken[source]++ % num;
    return all.slice(k * this.size, (k + 1) * this.size);
  }

  async showDraws() {
    const source = +this.source.value, num = this.about.view.kind === "image" ? 20 : 8;
    const { pictures } = this.about.draws[source];
    if (this.decoder) {
      const codes = Array.from({ length: num }, () => this.draw(source));
      showItems(this.about.view, this.samples, await this.decoded(codes, codes.map((_, k) => String(k + 1))));
      return;
    }
    const all = this.arrays[pictures], total = this.about.draws[source].num, size = all.length / total;
    const items = Array.from({ length: Math.min(num, total) }, (_, k) => {
      const at = this.taken[source]++ % total, values = all.subarray(at * size, (at + 1) * size);
      const shown = this.about.isBytes ? Float32Array.from(values, (x) => x / 255) : values;
      return { values: shown, caption: String(k + 1), shape: this.about.inputShape };
    });
    showItems(this.about.view, this.samples, items);
  }

  // --- The scatter

  points() {
    const [x, y] = this.axes.map((axis) => {
      const [, plane, k] = this.axisNames[axis];
      if (plane === null) return (i) => this.codes[i * this.size + k];
      const points = this.arrays[this.about.planes[plane].points];
      return (i) => points[2 * i + k];
    });
    const values = Array.from({ length: this.num }, (_, i) => [x(i), y(i)]);
    const bounds = [0, 1].map((k) => {
      const own = values.map((v) => v[k]).filter(Number.isFinite);
      const low = Math.min(...own), high = Math.max(...own), room = (high - low || 1) * 0.04;
      return [low - room, high + room];
    });
    return { values, bounds };
  }

  paintScatter() {
    const box = this.scatter.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    const width = box.width || 480, height = box.height || 380;
    this.scatter.width = width * ratio;
    this.scatter.height = height * ratio;
    const context = this.scatter.getContext("2d"), { values, bounds } = this.points();
    context.scale(ratio, ratio);
    const place = (value, k, size) => ((value - bounds[k][0]) / (bounds[k][1] - bounds[k][0])) * size;
    this.placed = values.map(([x, y]) => [place(x, 0, width), height - place(y, 1, height)]);
    this.placed.forEach(([x, y], i) => this.paintMark(context, x, y, 3, this.labels ? this.labels[i] : 0));
    const [x, y] = this.placed[this.selected];
    context.strokeStyle = style("--ink");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(x, y, 8, 0, 7);
    context.stroke();
  }

  // A dot of what has no label, else the color and the mark of its label; many labels are graded.
  paintMark(context, x, y, radius, label) {
    const { labels, unknown } = palette(), rank = label < 0 ? -1 : (this.ranks.get(label) ?? 0);
    const [color, mark] = rank < 0 || this.isGraded ? [0, 0] : PALETTE.chosen[rank];
    context.fillStyle = rank < 0 ? unknown : this.isGraded ? this.shade(rank) : labels[color];
    context.beginPath();
    for (const [right, up] of PALETTE.marks[mark]) context.lineTo(x + radius * right, y - radius * up);
    context.fill();
  }

  // Between the two nearest shades.
  shade(rank) {
    const { shades } = palette(), place = (rank / (this.ranks.size - 1)) * (shades.length - 1);
    const first = Math.min(Math.floor(place), shades.length - 2), part = place - first;
    const channel = (color, k) => parseInt(color.slice(k, k + 2), 16);
    const mixed = [1, 3, 5].map((k) =>
      Math.round((1 - part) * channel(shades[first], k) + part * channel(shades[first + 1], k)));
    return `rgb(${mixed.join(" ")})`;
  }

  onPoint(event, isPicked) {
    const box = this.scatter.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = 0;
    const distance = ([a, b]) => (a - x) ** 2 + (b - y) ** 2;
    this.placed.forEach((point, i) => {
      if (distance(point) < distance(this.placed[best])) best = i;
    });
    if (isPicked || (best !== this.selected && distance(this.placed[best]) < 400)) this.select(best, isPicked);
  }

  onKey(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter") this.select(this.selected, true);
    if (!(event.key in ways)) return;
    event.preventDefault();
    const [right, down] = ways[event.key], [x, y] = this.placed[this.selected];
    let best = null, least = Infinity;
    this.placed.forEach(([a, b], i) => {
      const ahead = (a - x) * right + (b - y) * down, aside = Math.abs((a - x) * down) + Math.abs((b - y) * right);
      // within 45 degrees, the nearest
      if (ahead > 0.5 && aside <= ahead && ahead + aside < least) [best, least] = [i, ahead + aside];
    });
    if (best !== null) this.select(best, false);
  }
}

// How far the decoder is from JAX on the codes that the page brings, as a share of their range.
async function largestError(about, arrays, decoder) {
  const { codes, conditions, outputs, range } = about.probes;
  const told = conditions === null ? null : arrays[conditions];
  const found = (await decoder.decode(arrays[codes], told)).outputs, wanted = arrays[outputs];
  let most = 0;
  for (let i = 0; i < wanted.length; i++) {
    const error = Object.is(found[i], wanted[i]) ? 0 : Math.abs(found[i] - wanted[i]);
    most = error <= most ? most : error;
  }
  return most / range;
}

async function open(source) {
  const about = JSON.parse(document.getElementById("about").textContent);
  PALETTE = about.palette;
  const arrays = await readArrays(document.getElementById("arrays").textContent, about.arrays);
  const take = (numbers) => numbers.map((k) => arrays[k]);
  let decoder = null, error = null;
  if (about.plan) {
    const { program, constants, places } = about.plan;
    const plan = { program, constants: take(constants), places: take(places) };
    decoder = await startDecoder(plan, source);
    error = await largestError(about, arrays, decoder);
  }
  const root = document.querySelector("main");
  const explorer = new Explorer(about, arrays, decoder);
  explorer.error = error;
  explorer.build(root);
  if (error !== null) {
    document.getElementById("exact").textContent =
      `Decoded in this page: at most ${number(100 * error, 2)} % of the range from JAX.`;
  }
  document.body.dataset.state = "ready";
  return explorer;
}

if (typeof document === "undefined") {
  serve(self);
} else {
  const source = document.currentScript.textContent;
  // for the console, and for tests
  globalThis.explorer = open(source).catch((error) => {
    document.querySelector("main").append(make("p", { role: "alert" }, `This page cannot be shown: ${error}`));
    document.body.dataset.state = "failed";
    throw error;
  });
}

// The plots that answer the reader. Bokeh draws; this puts them in their places, in the page's colours,
// and serves the controls of the series that can be chosen. Without script the still pictures stand.
(() => {
  const read = id => JSON.parse(document.getElementById(id)?.textContent ?? "null");
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const DARK = {"#1d2327": "#e7eaec", "#5a646b": "#a5afb6", "#dde2e5": "#394249", "#0072B2": "#56B4E9", "#D55E00": "#FF9A4D"};
  const coloured = item => {
    let text = JSON.stringify(item);
    if (darkness.matches) for (const [light, dark] of Object.entries(DARK)) text = text.replaceAll(light, dark);
    return JSON.parse(text);
  };
  const place = (item, target) => {
    target.replaceChildren();
    return Bokeh.embed.embed_item({...coloured(item), target_id: target.id}, target.id);
  };

  const items = read("live-items"), choice = read("live-series");
  document.documentElement.classList.add("answers-reader");
  const draw = () => {
    for (const [id, item] of Object.entries(items)) place(item, document.getElementById(id));
    if (choice) explore();
  };

  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer;
  const times = choice && Float64Array.from(new Uint32Array(bytes(choice.times)), s => 1000 * (choice.start + s));
  const unpacked = series => Float64Array.from(new Uint16Array(bytes(series.values)),
    part => part === 65535 ? NaN : series.low + part / 65534 * (series.high - series.low));

  // A record in about 700 means, so that its course is seen at a glance.
  const coarse = values => {
    const size = Math.max(1, Math.ceil(values.length / 700)), x = [], y = [];
    for (let first = 0; first < values.length; first += size) {
      const some = values.slice(first, first + size).filter(value => !Number.isNaN(value));
      x.push(times[first]);
      y.push(some.length ? some.reduce((a, b) => a + b) / some.length : NaN);
    }
    return {x, y};
  };

  const controls = document.getElementById("explorer-tools"), SPANS = {day: 1, week: 7, month: 30.5, all: Infinity};
  const chosen = name => controls?.querySelector(`select[name=${name}]`)?.value ?? "";
  let views, shown = {};

  const model = name => views.model.document.get_model_by_name(name);
  const fill = name => {
    const series = choice.series[name][chosen(name)];
    shown[name] = series ? {near: {x: times, y: unpacked(series)}} : {near: {x: [], y: []}};
    shown[name].far = series ? coarse(shown[name].near.y) : shown[name].near;
    for (const part of ["near", "far"]) model(`${name} ${part}`).data = shown[name][part];
    model("far x").setv({start: times[0], end: last});
    fit("far");
    fit("near");
  };
  // The height of a plot: that of the values within its width, and from zero where none is negative.
  const fit = part => {
    const {start, end} = model(`${part} x`);
    let low = Infinity, high = -Infinity;
    for (const series of Object.values(shown)) series[part].x.forEach((time, i) => {
      const value = series[part].y[i];
      if (time >= start && time <= end && !Number.isNaN(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    });
    if (low > high) return;
    const room = 0.06 * (high - low || 1);
    model(`${part} y`).setv({start: low >= 0 ? 0 : low - room, end: high + room});
  };
  const DAY = 864e5, last = choice && times[times.length - 1];
  const look = (start, width) => {
    const span = Math.min(width, last - times[0]);
    const from = Math.max(times[0], Math.min(start, last - span));
    model("near x").setv({start: from, end: from + span});
  };
  const press = button => {
    const {start, end} = model("near x"), width = end - start;
    if (button.dataset.move) return look(start + Number(button.dataset.move) * width, width);
    for (const other of controls.querySelectorAll("[data-span]")) other.setAttribute("aria-pressed", other === button);
    look(button.dataset.span === "all" ? times[0] : start, SPANS[button.dataset.span] * DAY);
  };
  const explore = async () => {
    const before = views && {...model("near x").attributes};
    views = await place(choice.plots, document.getElementById("explorer-plots"));
    views = views.roots?.[0] ?? views;
    model("near x").change.connect(() => fit("near"));
    for (const name of ["real", "synthetic"]) fill(name);
    const [start, end] = before ? [before.start, before.end] : choice.week.map(seconds => 1000 * seconds);
    look(start, end - start);
  };
  controls?.addEventListener("change", event => fill(event.target.name));
  controls?.addEventListener("click", event => event.target.closest("button") && press(event.target.closest("button")));
  darkness.addEventListener("change", draw);
  draw();
})();

// Shows the frames of a scene (structure_viewer.py) with 3Dmol.js. The library and the scene lie in
// the page, compressed, and are unpacked when the view is opened.
"use strict";
document.querySelectorAll(".viewer").forEach((root) => {
  const find = (selector) => root.querySelector(selector);
  const stage = find(".stage"), reason = find(".reason");
  const buttons = [...root.querySelectorAll(".choices button")];
  let scene = null, viewer = null, chosen = 0, near = false, opening = null;

  async function unpack(part) {
    const bytes = Uint8Array.from(atob(find(`[data-part="${part}"]`).textContent.trim()),
      (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function open() {
    const trial = document.createElement("canvas");
    if (!trial.getContext("webgl2") && !trial.getContext("webgl")) {
      throw new Error("this browser has no WebGL");
    }
    scene = JSON.parse(await unpack("scene"));
    if (!window.$3Dmol) {
      const script = document.createElement("script");
      script.textContent = await unpack("library");
      document.head.append(script);
    }
    stage.classList.add("open");
    const canvas = document.createElement("div");
    canvas.className = "canvas";
    stage.append(canvas);
    viewer = window.$3Dmol.createViewer(canvas, { backgroundColor: "white", antialias: true });
    find(".opener").remove();
    find(".panel").hidden = false;
    draw();
    whole();
  }

  function whenOpen(action) {
    opening = opening || open().catch((error) => {
      find(".opener").textContent =
        `The 3-D view cannot be shown: ${error.message}. The table of worst frames says the same in text.`;
      throw error;
    });
    return opening.then(action, () => {});
  }

  const mixed = (a, b, share) => a.map((x, k) => Math.round(x + (b[k] - x) * share));
  function strainColor(value, calm) {
    const stops = scene.colors.map(([level, color], k) => [level, k === 0 && calm ? calm : color]);
    let k = 1;
    while (k < stops.length - 1 && value > stops[k][0]) k += 1;
    const [low, from] = stops[k - 1], [high, to] = stops[k];
    const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
    const [r, g, b] = mixed(from, to, share);
    return (r << 16) | (g << 8) | b;
  }

  const ELEMENTS = { N: 0x3050f8, O: 0xe02020, S: 0xc8a000, P: 0xe07000, H: 0xd8dde2, F: 0x20a040,
    Cl: 0x20a040, Br: 0xa62929, I: 0x7a3fa0 };
  const CHAINS = [0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9];
  const NATIVE = 0x7d8b99, LIGAND = [38, 152, 116];

  function atomsOf(positions, structure, strain) {
    const atoms = scene.names.map((name, index) => ({ atom: name, elem: scene.elements[index],
      serial: index, index, x: positions[3 * index] / 100, y: positions[3 * index + 1] / 100,
      z: positions[3 * index + 2] / 100, bonds: [], bondOrder: [], properties: {} }));
    scene.residues.forEach((residue, number) => {
      for (let k = residue.first; k < residue.first + residue.count; k += 1) {
        Object.assign(atoms[k], { resn: residue.name, resi: residue.place,
          chain: String(residue.chain), reschain: residue.chain, hetflag: !residue.polymer,
          ss: structure ? structure[number] : "c" });
        Object.assign(atoms[k].properties,
          { residue: number, strain: strain ? strain[number] : null });
      }
    });
    for (let k = 0; k < scene.bonds.length; k += 2) {
      const [a, b] = [scene.bonds[k], scene.bonds[k + 1]];
      atoms[a].bonds.push(b); atoms[a].bondOrder.push(1);
      atoms[b].bonds.push(a); atoms[b].bondOrder.push(1);
    }
    return atoms;
  }

  const ligand = (atom) => scene.residues[atom.properties.residue].ligand;

  function residueColor(atom) {
    if (find("[name=color]").value === "chain") {
      return CHAINS[scene.residues[atom.properties.residue].chain % CHAINS.length];
    }
    const calm = ligand(atom) ? LIGAND : null, { strain } = atom.properties;
    return strainColor(strain === null ? 0 : strain, calm);
  }

  const atomColor = (atom) =>
    atom.elem === "C" || !(atom.elem in ELEMENTS) ? residueColor(atom) : ELEMENTS[atom.elem];

  function draw() {
    const frame = scene.frames[chosen], view = viewer.getView();
    const named = new Set(frame.named);
    const faulty = new Set(frame.named.map((k) => residueOf(k)));
    const hydrogens = find("[name=hydrogens]").checked, sides = find("[name=sides]").checked;
    viewer.removeAllModels();
    viewer.removeAllLabels();
    viewer.removeAllShapes();
    if (find("[name=native]") && find("[name=native]").checked) {
      const native = viewer.addModel();
      native.addAtoms(atomsOf(scene.native, scene.nativeStructure, null));
      const faint = { color: NATIVE, opacity: 0.45 };
      native.setStyle({}, {});
      native.setStyle({ hetflag: false }, { cartoon: faint });
      native.setStyle({ predicate: (a) => a.elem !== "H" && (ligand(a) || scene.small
        || faulty.has(a.properties.residue)) },
      { stick: { radius: 0.09, color: NATIVE, opacity: 0.6 }, cartoon: faint });
    }
    const model = viewer.addModel();
    model.addAtoms(atomsOf(frame.positions, frame.structure, frame.strain));
    const cartoon = { colorfunc: residueColor, thickness: 0.35, arrows: true,
      opacity: near ? 0.4 : 1 };
    const strained = (a) => a.properties.strain !== null && a.properties.strain > scene.limit;
    const close = (a) => faulty.has(a.properties.residue);
    model.setStyle({}, {});
    model.setStyle({ hetflag: false }, { cartoon });
    const shown = (a) => (a.hetflag || sides || close(a) || strained(a))
      && (hydrogens || a.elem !== "H" || named.has(a.index));
    model.setStyle({ predicate: (a) => shown(a) && !ligand(a) },
      { cartoon, stick: { radius: 0.13, colorfunc: atomColor } });
    model.setStyle({ predicate: (a) => shown(a) && ligand(a) },
      { stick: { radius: 0.22, colorfunc: atomColor }, sphere: { radius: 0.3, colorfunc: atomColor } });
    mark(frame, model);
    [...faulty].slice(0, 4).forEach((number, row) => {
      const atom = frame.named.find((k) => residueOf(k) === number);
      viewer.addLabel(scene.residues[number].label, { position: point(frame, atom), fontSize: 13,
        fontColor: "#1f2933", backgroundColor: "white", backgroundOpacity: 0.85,
        borderColor: "#d55e00", borderThickness: 1, inFront: true,
        screenOffset: new window.$3Dmol.Vector2(28, 28 + 26 * row) });
    });
    viewer.setView(view);
    viewer.render();
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === chosen)));
    find("[data-do=fault]").disabled = frame.named.length === 0;
    stage.setAttribute("aria-label", `3-D view of ${frame.title}: ${frame.text}`);
    reason.replaceChildren();
    const strong = document.createElement("strong");
    strong.textContent = `${frame.title}. `;
    reason.append(strong, frame.text);
    root.dataset.drawn = String(chosen);
  }

  // Atoms that the reason names, and what lies between them: a bond, or the gap of an overlap.
  function mark(frame, model) {
    const color = 0xd55e00;
    frame.named.forEach((k) => viewer.addSphere({ center: point(frame, k), radius: 0.42, color,
      opacity: 0.8 }));
    const pairs = frame.named.flatMap((a, k) => frame.named.slice(k + 1).map((b) => [a, b]));
    const bonded = pairs.filter(([a, b]) => model.selectedAtoms({ index: a })[0].bonds.includes(b));
    const between = bonded.length === 0 && frame.named.length === 2;
    (between ? pairs : bonded).forEach(([a, b]) => viewer.addCylinder({ start: point(frame, a),
      end: point(frame, b), radius: between ? 0.08 : 0.2, color, opacity: 0.85, dashed: between }));
  }

  const residueOf = (atom) =>
    scene.residues.findIndex((r) => atom >= r.first && atom < r.first + r.count);
  const point = (frame, k) => ({ x: frame.positions[3 * k] / 100,
    y: frame.positions[3 * k + 1] / 100, z: frame.positions[3 * k + 2] / 100 });

  function whole() {
    near = false;
    draw();
    viewer.zoomTo();
    viewer.zoom(1.15);
    viewer.render();
  }

  // The side on which the fault is nearest to the surface is turned to the reader, the ribbon faint.
  function fault() {
    const frame = scene.frames[chosen], residues = new Set(frame.named.map(residueOf));
    near = true;
    draw();
    viewer.zoomTo({ model: -1, predicate: (a) => residues.has(a.properties.residue) });
    const view = viewer.getView(), mean = [0, 0, 0];
    frame.named.forEach((k) => {
      const { x, y, z } = point(frame, k);
      [x, y, z].forEach((value, axis) => { mean[axis] += value / frame.named.length; });
    });
    // Positions are about the molecule's centre; this rotation brings the mean onto the z axis.
    const [x, y, z] = mean, length = Math.hypot(x, y, z);
    if (length > 1) {
      const norm = Math.hypot(y, x, length + z);
      view.splice(4, 4, y / norm, -x / norm, 0, (length + z) / norm);
      if (norm > 1e-3) viewer.setView(view);
    }
    viewer.zoom(0.7);
    viewer.render();
  }
  const turn = (angle, axis) => { viewer.rotate(angle, axis); viewer.render(); };
  const zoom = (factor) => { viewer.zoom(factor); viewer.render(); };
  const actions = { whole, fault, left: () => turn(-15, "y"), right: () => turn(15, "y"),
    up: () => turn(-15, "x"), down: () => turn(15, "x"), nearer: () => zoom(1.2),
    farther: () => zoom(1 / 1.2) };
  const keys = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
    "+": "nearer", "=": "nearer", "-": "farther" };

  buttons.forEach((button, k) => button.addEventListener("click", () => {
    chosen = k;
    whenOpen(() => (!near ? draw : scene.frames[k].named.length ? fault : whole)());
  }));
  find(".opener button").addEventListener("click", () => whenOpen(() => stage.focus()));
  root.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click",
    () => whenOpen(actions[button.dataset.do])));
  root.querySelectorAll(".controls input, .controls select").forEach((control) =>
    control.addEventListener("change", () => whenOpen(draw)));
  stage.addEventListener("keydown", (event) => {
    if (viewer && event.key in keys) {
      event.preventDefault();
      actions[keys[event.key]]();
    }
  });
  // The wheel scrolls the page until somebody has turned to the view.
  stage.addEventListener("wheel", (event) => {
    if (!stage.matches(":focus-within")) event.stopPropagation();
  }, { capture: true });
});

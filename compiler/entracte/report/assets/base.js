// What every page shares: its data, elements made from text, colours, light and dark.
const DATA = JSON.parse(document.getElementById('data').textContent);
const $ = (selector, root = document) => root.querySelector(selector);

/** An element with attributes and children; strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) element.style.setProperty(name, value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children);
  return element;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const stageColour = (number) => colour(`--s${number % 8}`);

/** Functions that draw: called now, and again when light becomes dark. */
const drawings = [];
function drawn(draw) {
  drawings.push(draw);
  draw();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  for (const draw of drawings) draw();
}

const preferred = matchMedia('(prefers-color-scheme: dark)');
setTheme(preferred.matches ? 'dark' : 'light');
preferred.addEventListener('change', () => setTheme(preferred.matches ? 'dark' : 'light'));
$('#theme').addEventListener('click', () => {
  setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
});

// Paper is light, and shows nothing that was looked for or selected.
let isPrinting = false;
let beforePrint = 'light';
addEventListener('beforeprint', () => {
  beforePrint = document.documentElement.dataset.theme;
  isPrinting = true;
  setTheme('light');
});
addEventListener('afterprint', () => {
  isPrinting = false;
  setTheme(beforePrint);
});

/** A chart that follows the size of its element. */
function chartIn(element) {
  const chart = vendor.init(element, null, { renderer: 'svg' });
  new ResizeObserver(() => chart.resize()).observe(element);
  return chart;
}

/** The content of a tooltip: a heading and lines. */
function tipBox(heading, ...lines) {
  return make('div', { class: 'tip-box' }, make('b', {}, heading),
    ...lines.filter(Boolean).map((line) => make('div', {}, line)));
}

const tipStyle = () => ({
  confine: true,
  backgroundColor: colour('--card'),
  borderColor: colour('--line'),
  textStyle: { color: colour('--ink') },
  transitionDuration: 0,
});

const fontOfPage = () => getComputedStyle(document.body).fontFamily;

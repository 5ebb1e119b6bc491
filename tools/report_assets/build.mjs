// Bundles the libraries into one file, the same bytes each time: npm ci && npm run build.
import { build } from "esbuild";
import { readFile } from "node:fs/promises";

const packages = JSON.parse(await readFile("package.json", "utf8")).dependencies;
const names = Object.keys(packages).sort();
const used = [...names, "zrender", "d3-path", "@dagrejs/graphlib"];
const notice = [];
for (const name of used) {
  const about = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  notice.push(` * ${about.name} ${about.version}, ${about.license}`);
}

await build({
  entryPoints: ["vendor.js"],
  outfile: "../../compiler/report/assets/vendor.js",
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "vendor",
  target: "es2020",
  charset: "ascii",
  legalComments: "none",
  banner: {
    js: `/*! Libraries of the report; licences in vendor.LICENSES.txt\n${notice.join("\n")}\n */`,
  },
});

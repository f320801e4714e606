import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: [".venv/", "site/", "runs/"] },
  js.configs.recommended,
  {
    files: ["ctcedge/report/web/js/*.js"],
    languageOptions: { globals: globals.browser },
    rules: { complexity: ["error", 15] },
  },
  { files: ["tests/js/*.js"], languageOptions: { globals: globals.node } },
  { rules: { eqeqeq: "error", "no-var": "error", "prefer-const": "error" } },
];

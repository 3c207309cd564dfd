// Rules for the browser's half. Run by CI: eslint is a tool of the tests, nothing that hexviz needs.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: { ...globals.browser, ...globals.node } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "eqeqeq": "error", "no-var": "error", "prefer-const": "error", "no-implied-eval": "error", "no-new-func": "error", "no-shadow": "error",
      "no-unused-vars": ["error", { args: "all", argsIgnorePattern: "^_" }], "max-depth": ["error", 4], "complexity": ["error", 20], "max-lines-per-function": ["error", 60],
    },
  },
];

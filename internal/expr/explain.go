package expr

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// explain makes one line of the first thing that CEL found wrong. root is the
// syntax tree, or nil if there is none; known are the variables there are.
func explain(issues *cel.Issues, root ast.Expr, known []string) error {
	all := issues.Errors()
	if len(all) == 0 {
		return issues.Err()
	}
	e := all[0]
	where := fmt.Sprintf("column %d", e.Location.Column()+1)
	if e.Location.Line() > 1 {
		where = fmt.Sprintf("line %d, %s", e.Location.Line(), where)
	}
	if e.Location.Line() < 1 || e.Location.Column() < 0 { // a bound, or the like
		return errors.New(oneLine(e.Message))
	}
	return fmt.Errorf("%s: %s", where, reword(e, root, known))
}

func reword(e *cel.Error, root ast.Expr, known []string) string {
	msg := oneLine(e.Message)
	if name, ok := quoted(msg, "undefined field '"); ok {
		return noField(name, operand(root, e.ExprID))
	}
	if name, ok := quoted(msg, "undeclared reference to '"); ok {
		return unknownName(name, root, e.ExprID, known)
	}
	if call, ok := strings.CutPrefix(msg, "found no matching overload for '"); ok {
		name, args, _ := strings.Cut(call, "' applied to '")
		args = strings.TrimSuffix(args, "'")
		if call == "" || args == "" {
			return msg
		}
		return fmt.Sprintf("%s does not work with %s", operator(name), args)
	}
	if msg == "invalid matches argument" {
		return "the pattern is no regular expression (RE2), or is too large"
	}
	if rest, ok := strings.CutPrefix(msg, "Syntax error: "); ok {
		return syntax(rest)
	}
	return msg
}

// syntax leaves out what only the author of the grammar understands.
func syntax(msg string) string {
	msg, _, _ = strings.Cut(msg, " expecting ")
	if strings.HasPrefix(msg, "token recognition error at: '= ") {
		return "syntax error: two values are compared with =="
	}
	for _, r := range [][2]string{
		{"mismatched input ", "unexpected "},
		{"extraneous input ", "unexpected "},
		{"no viable alternative at input ", "unexpected "},
		{"token recognition error at: ", "unexpected "},
		{"'<EOF>'", "end of the expression"},
	} {
		msg = strings.ReplaceAll(msg, r[0], r[1])
	}
	return "syntax error: " + msg
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// quoted returns what stands between prefix and the next quote.
func quoted(msg, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(msg, prefix)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, "'")
	return name, ok
}

// operator is how an operator is written: "_==_" is "==".
func operator(name string) string {
	switch name {
	case "_[_]":
		return "[...]"
	case "_?_:_":
		return "? :"
	}
	return strings.Trim(name, "_@")
}

// noField says that there is no such field, and which there are.
func noField(name, of string) string {
	for _, v := range variables {
		if v.name == of {
			return fmt.Sprintf("%s has no field %q%s", of, name, guess(name, v.FieldNames()))
		}
	}
	return fmt.Sprintf("there is no field %q", name)
}

func unknownName(name string, root ast.Expr, id int64, known []string) string {
	if e := find(root, id); e != nil && e.Kind() == ast.CallKind {
		return fmt.Sprintf("there is no function %q", name)
	}
	return fmt.Sprintf("%q is not known%s", name, guess(name, known))
}

// operand names the variable that the selection with the id is made from.
func operand(root ast.Expr, id int64) string {
	e := find(root, id)
	if e == nil || e.Kind() != ast.SelectKind || e.AsSelect().Operand().Kind() != ast.IdentKind {
		return ""
	}
	return e.AsSelect().Operand().AsIdent()
}

func find(root ast.Expr, id int64) ast.Expr {
	var found ast.Expr
	if root == nil {
		return nil
	}
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() == id && found == nil {
			found = e
		}
	}))
	return found
}

// guess proposes the name that is nearest, or lists them all.
func guess(name string, names []string) string {
	best, least := "", 3
	for _, n := range names {
		if d := distance(name, n); d < least && d < len(n) {
			best, least = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ": there are " + strings.Join(names, ", ")
}

// distance is the number of letters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

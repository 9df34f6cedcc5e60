package expr

import (
	"errors"
	"math"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// environment is the vocabulary, made when first needed; it never changes.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Network(),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegex),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.EnableErrorOnBadPresenceTest(true),
		cel.CrossTypeNumericComparisons(true),
	}
	for _, v := range variables {
		options = append(options, cel.Types(v), cel.Variable(v.name, v.typ))
	}
	options = append(options, cel.Variable(took, types.DurationType))
	return cel.NewEnv(options...)
})

var errCost = errors.New("the expression can never be evaluated within the bounds of the gateway; make it simpler")

// plan makes a checked expression runnable. The work of an evaluation is counted
// only where its cost cannot be bounded beforehand: then the program is limited.
func plan(env *cel.Env, checked *cel.Ast) (p cel.Program, limited bool, err error) {
	estimate, err := env.EstimateCost(checked, estimator{})
	if err != nil {
		return nil, false, err
	}
	if estimate.Min > maxCost {
		return nil, false, errCost
	}
	options := []cel.ProgramOption{
		cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(bound),
	}
	limited = estimate.Max > maxCost
	if limited {
		options = append(options, cel.CostLimit(maxCost))
	}
	p, err = env.Program(checked, options...)
	return p, limited, err
}

// An estimator tells CEL how large the variables can be: no larger than what a
// listener accepts as the head of a request.
type estimator struct{}

const headSize = 64 << 10

// EstimateSize bounds what begins with a variable.
func (estimator) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if len(node.Path()) == 0 {
		return nil
	}
	switch node.Type().Kind() {
	case types.StringKind, types.BytesKind, types.DynKind:
		return &cost.SizeEstimate{Max: headSize}
	case types.MapKind, types.ListKind:
		return &cost.SizeEstimate{Max: headSize / 4}
	}
	return nil
}

// EstimateCallCost leaves the cost of functions to CEL.
func (estimator) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// bound replaces the two functions by which a short expression could make a
// small request large: text replaced by text, and a list joined by text, grow
// with the product of their arguments. CEL counts the cost only afterwards.
func bound(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	switch call.OverloadID() {
	case "string_replace_string_string", "string_replace_string_string_int":
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), replace), nil
	case "list_join_string":
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), join), nil
	}
	return i, nil
}

func tooLong() ref.Val { return types.NewErr("the text would be longer than %d bytes", maxText) }

func replace(args ...ref.Val) ref.Val {
	s, ok1 := args[0].(types.String)
	from, ok2 := args[1].(types.String)
	to, ok3 := args[2].(types.String)
	if !ok1 || !ok2 || !ok3 {
		return types.NewErr("replace takes text")
	}
	n := math.MaxInt
	if len(args) > 3 {
		i, ok := args[3].(types.Int)
		if !ok {
			return types.NewErr("replace takes a number of replacements")
		}
		if i >= 0 {
			n = int(min(int64(i), math.MaxInt32))
		}
	}
	n = min(n, strings.Count(string(s), string(from)))
	if len(s)+n*max(0, len(to)-len(from)) > maxText && len(to) > len(from) {
		return tooLong()
	}
	return types.String(strings.Replace(string(s), string(from), string(to), n))
}

func join(args ...ref.Val) ref.Val {
	list, ok1 := args[0].(traits.Lister)
	by, ok2 := args[1].(types.String)
	if !ok1 || !ok2 {
		return types.NewErr("join takes a list of text, and text")
	}
	var b strings.Builder
	it := list.Iterator()
	for more := it.HasNext() == types.True; more; {
		s, ok := it.Next().(types.String)
		if !ok {
			return types.NewErr("join takes a list of text")
		}
		if b.Len()+len(by)+len(s) > maxText {
			return tooLong()
		}
		b.WriteString(string(s))
		if more = it.HasNext() == types.True; more {
			b.WriteString(string(by))
		}
	}
	return types.String(b.String())
}

package issuer

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// apiFields are the members of a JSON object, or the fields of a form.
type apiFields map[string]any

// readAPIFields reads what a call says: JSON, or a form as Laravel takes it too.
func readAPIFields(w http.ResponseWriter, r *http.Request) (apiFields, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != formType {
		return nil, &apiError{
			status: http.StatusUnsupportedMediaType, message: "The body has to be application/json.",
		}
	}
	body, fault := readBody(w, r)
	if fault != nil {
		return nil, fault
	}
	fields := make(apiFields)
	if media == "application/json" {
		if !utf8.ValidString(body) || json.Unmarshal([]byte(body), &fields) != nil || fields == nil {
			return nil, &apiError{status: http.StatusBadRequest, message: "The body is no JSON object."}
		}
		return fields, nil
	}
	f, fault := parsePageForm(body)
	if fault != nil {
		return nil, fault
	}
	for name, values := range f {
		if list, ok := strings.CutSuffix(name, "[]"); ok {
			items := make([]any, 0, len(values))
			for _, value := range values {
				items = append(items, value)
			}
			fields[list] = items
			continue
		}
		fields[name] = values[0]
	}
	return fields, nil
}

// text is a member that has to be there and be a string of up to maxName characters; else it adds to problems.
func (f apiFields) text(name string, problems map[string]string) string {
	value, ok := f[name].(string)
	switch value = strings.TrimSpace(value); {
	case f[name] == nil, ok && value == "":
		problems[name] = fmt.Sprintf("The %s field is required.", name)
	case !ok:
		problems[name] = fmt.Sprintf("The %s field must be a string.", name)
	case utf8.RuneCountInString(value) > maxName:
		problems[name] = fmt.Sprintf("The %s field must not be greater than %d characters.", name, maxName)
	}
	return value
}

// list is a member that is a list of strings, or is not there; else it adds to problems.
func (f apiFields) list(name string, problems map[string]string) []string {
	if f[name] == nil {
		return nil
	}
	values, ok := f[name].([]any)
	if !ok {
		problems[name] = fmt.Sprintf("The %s field must be an array.", name)
		return nil
	}
	list := make([]string, 0, len(values))
	for n, value := range values {
		text, ok := value.(string)
		if !ok {
			problems[fmt.Sprintf("%s.%d", name, n)] = fmt.Sprintf("The %s.%d field must be a string.", name, n)
			continue
		}
		list = append(list, text)
	}
	return list
}

// flag is a member that is true or false, in one of the ways that Laravel takes; else it adds to problems.
func (f apiFields) flag(name string, missing bool, problems map[string]string) bool {
	switch value := f[name].(type) {
	case nil:
		return missing
	case bool:
		return value
	case float64:
		if value == 0 || value == 1 {
			return value == 1
		}
	case string:
		if value == "0" || value == "1" {
			return value == "1"
		}
	}
	problems[name] = fmt.Sprintf("The %s field must be true or false.", name)
	return missing
}

// seconds is a member that is a whole number of seconds, or is not there; else it adds to problems.
func (f apiFields) seconds(name string, problems map[string]string) time.Duration {
	const most = 1 << 32 // the rule for lifetimes refuses it too
	if f[name] == nil {
		return 0
	}
	value, ok := f[name].(float64)
	if !ok || value < 1 || value > most || value != float64(int64(value)) {
		problems[name] = "The " + name + " field must be an integer of at least 1."
		return 0
	}
	return time.Duration(value) * time.Second
}
